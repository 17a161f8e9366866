// The way of a request through all that is pure: the head check, decode() and encode() of made-up
// answers. Nothing invalid gets to the store, and whatever is answered is one whole message that
// can be read.
#include <algorithm>
#include <array>
#include <limits>

#include "common/counter_name.h"
#include "common/idempotency_key.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/operation_text.h"
#include "daemon/api.h"
#include "daemon/sender.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/other_parser.h"

using namespace counterd;
using namespace std::chrono_literals;

namespace {

std::string member_of(const FlatObject& object, std::string_view name) {
  for (const auto& [key, value] : object) {
    if (key == name) return value;
  }
  return {};
}

void expect_message_of(const Response& response, bool head_only) {
  for (const After after : {After::kKeepAlive, After::kKeepAlive10, After::kClose}) {
    std::string bytes;
    append_bytes(bytes, response, after, head_only);
    EXPECT(bytes.ends_with(head_only ? "\r\n\r\n" : response.body));
    if (head_only) continue;  // whose length is not that of its message
    const std::string_view head =
        std::string_view(bytes).substr(0, bytes.size() - response.body.size());
    EXPECT(head.find("\r\n\r\n") == head.size() - 4);
    EXPECT(reads_as_response(head, response.body.size()));
  }
}

void expect_problem(const Response& response) {
  EXPECT(response.status >= 400 && response.content_type == "application/problem+json");
  const Result<FlatObject> problem = parse_flat_object(response.body);
  EXPECT(problem.ok());
  const std::optional<Code> code = code_of_problem_type(member_of(*problem, "type"));
  const bool until_reset = code == Code::kLimitReached;
  EXPECT(!until_reset || !member_of(*problem, "resets_at").empty());
  const bool has_quota = until_reset && !member_of(*problem, "remaining").empty();
  EXPECT(has_quota == (response.fields.find("RateLimit: ") != std::string::npos));
  if (code == Code::kBeyondBound || until_reset) {
    EXPECT(parse_int64(member_of(*problem, "value"), "value"));
    EXPECT(parse_int64(member_of(*problem, "bound"), "bound"));
    EXPECT(!member_of(*problem, "would_be").empty());
  } else {
    std::size_t members = 4;
    for (const char* name : {"index", "window", "version"}) {
      if (!member_of(*problem, name).empty()) ++members;
    }
    EXPECT(problem->size() == members);
  }
  EXPECT(code && code_info(*code).http_status == response.status);
  EXPECT(member_of(*problem, "status") == std::to_string(response.status));
  EXPECT(member_of(*problem, "title") == code_info(*code).title);
  EXPECT(!member_of(*problem, "detail").empty());
  const bool again = (response.status == 503 && *code != Code::kUnknown) || until_reset;
  EXPECT(again == (response.fields.find("Retry-After: ") != std::string::npos));
}

void expect_value(const Response& response, const Call& call, const std::string& name) {
  EXPECT(response.status == 200);
  if (!call.plain_text) {
    const bool seed_report = response.body.starts_with("{\"count\":");
    // A list, a probe and the seed's report name no counter.
    if (!name.empty() && !seed_report) EXPECT(json_string_member(response.body, "name") == name);
    EXPECT(response.content_type == "application/json");
    EXPECT(response.body.ends_with("}\n"));
  } else if (!name.empty()) {
    EXPECT(response.body.ends_with('\n'));
    EXPECT(parse_int64(response.body.substr(0, response.body.size() - 1), "value"));
  }
}

void expect_answer(const Call& call, const Answer& answer, bool good, const std::string& name) {
  Figures figures;
  figures.pid = 4711;
  const Response response = encode(call, answer, figures);
  if (good) {
    expect_value(response, call, name);
  } else {
    expect_problem(response);
  }
  expect_message_of(response, call.head_only);
}

std::string conditions(const Operation& operation) {
  const auto& [min, max, clamp] = operation.bounds;
  std::string text = "&initial=" + std::to_string(operation.initial);
  if (min) text += "&min=" + std::to_string(*min);
  if (max) text += "&max=" + std::to_string(*max);
  if (const auto& ttl = operation.lifetime.ttl) {
    text += "&ttl=" + std::to_string(ttl->count()) + "ms&ttl_mode=";
    text += operation.lifetime.renew ? "renew" : "create";
  }
  if (const auto& window = operation.lifetime.window) {
    text.append("&per=").append(word_of(window->period)).append("&timezone=");
    for (const char c : window->timezone) c == '+' ? text += "%2B" : text += c;
  }
  if (operation.check) text += "&check=true";
  return text + "&on_limit=" + (clamp ? "clamp" : "refuse");
}

std::string request_line_of(const Operation& operation) {
  const std::string path = "/v1/counters/" + operation.name;
  switch (operation.kind) {
    case OperationKind::kIncrement:
      return "POST " + path + "/increment?by=" + std::to_string(operation.operand) +
             conditions(operation);
    case OperationKind::kReset:
      return "POST " + path + "/reset?to=" + std::to_string(operation.operand) +
             (operation.create ? "" : "&create=false");
    case OperationKind::kDelete:
      return "DELETE " + path;
    case OperationKind::kReport:
      return "GET " + path;
    case OperationKind::kEach:
    case OperationKind::kAll:
      break;
  }
  return "POST /v1/batch";
}

// The plainest request for the same operation means the same.
void expect_same_when_written(const Operation& operation) {
  std::string text = request_line_of(operation);
  const std::string body = is_group(operation) ? to_json(operation) : "";
  // One group may be longer in this form than a body may be.
  if (body.size() > kMaxBodyBytes) return;
  text += " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  if (is_group(operation)) text += "Content-Type: application/json\r\n";
  if (!operation.key.empty()) text += "Idempotency-Key: " + quoted_key(operation.key) + "\r\n";
  if (operation.key_lifetime.count() != 0) {
    text += "Idempotency-Key-Lifetime: " + std::to_string(operation.key_lifetime / 1s) + "\r\n";
  }
  text += "\r\n";
  const auto head = read_request_head(text);
  EXPECT(head.ok() && head->has_value());
  const Decoded decoded = decode(**head, body, {{{"localhost"}, false}, false});
  const auto* question = std::get_if<Question>(&decoded.result);
  EXPECT(question != nullptr);
  const auto* again = std::get_if<Operation>(question);
  EXPECT(again != nullptr && again->name == operation.name);
  EXPECT(identity_of(*again) == identity_of(operation));
  EXPECT(again->key == operation.key && again->key_lifetime == operation.key_lifetime);
}

void expect_valid(const Operation& operation) {
  EXPECT(check_counter_name(operation.name));
  EXPECT(check_bounds(operation.bounds));
  const auto& [ttl, renew, window] = operation.lifetime;
  EXPECT(!renew || ttl);
  if (window) {
    Window again = *window;
    EXPECT(!ttl && resolve_timezone(again) && again == *window);
  }
  EXPECT(operation.kind == OperationKind::kIncrement ||
         (operation.initial == 0 && operation.bounds == Bounds{} &&
          operation.lifetime == Lifetime{} && !operation.check));
}

void expect_valid_group(const Operation& group, const RequestHead& head) {
  EXPECT(head.method == "POST" && head.target.starts_with("/v1/batch"));
  EXPECT(!group.members.empty() && group.members.size() <= kMaxGroupOperations);
  for (const Operation& member : group.members) {
    EXPECT(!is_group(member) && member.key.empty());
    expect_valid(member);
  }
}

void expect_allowed(const Operation& operation, const RequestHead& head,
                    const ApiOptions& options) {
  if (is_group(operation)) {
    expect_valid_group(operation, head);
  } else {
    expect_valid(operation);
  }
  EXPECT(operation.key.empty() || parse_idempotency_key(quoted_key(operation.key)));
  EXPECT(operation.key_lifetime.count() == 0 || !operation.key.empty());
  EXPECT(operation.key_lifetime >= 0s && operation.key_lifetime <= kMaxKeyLifetime);
  if (!changes_something(operation)) {
    EXPECT(head.method == "GET" || head.method == "HEAD" || is_group(operation) || operation.check);
    EXPECT(operation.key.empty());
    return;
  }
  const bool seed_path = head.target.starts_with("/increment") || head.target.starts_with("/reset");
  EXPECT(head.method == "POST" || head.method == "DELETE" ||
         (head.method == "GET" && options.allow_get_writes && seed_path));
  EXPECT(!head.has_origin && head.sec_fetch_site != "cross-site");
}

// Every outcome of its members, and each way in which they can refuse the whole.
void answer_group(const Call& call, const Operation& group) {
  Outcome outcome;
  for (std::size_t i = 0; i < group.members.size(); ++i) {
    constexpr std::array kCodes = {Code::kOk, Code::kMissing, Code::kOutOfRange};
    outcome.members.emplace_back().code = kCodes[i % kCodes.size()];
  }
  expect_answer(call, Step{group, outcome}, true, {});
  for (const Code code : {Code::kMissing, Code::kOutOfRange}) {
    outcome.code = outcome.members.back().code = code;
    expect_answer(call, Step{group, outcome}, false, {});
  }
  outcome.members.clear();
  for (const Code code : {Code::kKeyReused, Code::kTooManyKeys, Code::kStoreFull,
                          Code::kUnavailable, Code::kUnknown}) {
    outcome.code = code;
    expect_answer(call, Step{group, outcome}, false, {});
  }
}

void answer_operation(const Call& call, const Operation& operation) {
  if (is_group(operation)) return answer_group(call, operation);
  // The counter count is there at all times for the seed's report.
  Outcome missing;
  missing.code = Code::kMissing;
  const bool seed_report = encode(call, Step{operation, missing}, {}).status == 200;
  for (const Code code :
       {Code::kOk, Code::kMissing, Code::kOutOfRange, Code::kBeyondBound, Code::kOtherWindow,
        Code::kClocksApart, Code::kKeyReused, Code::kTooManyKeys, Code::kStoreFull,
        Code::kUnavailable, Code::kUnknown}) {
    Outcome outcome;
    outcome.code = code;
    if (code == Code::kOtherWindow) outcome.window = "day UTC";
    outcome.detail = "it \"broke\"\r\n\xff";
    outcome.value = std::numeric_limits<std::int64_t>::min();
    const bool good = code == Code::kOk || (code == Code::kMissing && seed_report);
    expect_answer(call, Step{operation, outcome}, good, operation.name);
    outcome.detail.clear();
    expect_answer(call, Step{operation, outcome}, good, operation.name);
    outcome.replayed = code == Code::kOk;
    outcome.previous = std::numeric_limits<std::int64_t>::max();
    expect_answer(call, Step{operation, outcome}, good, operation.name);
  }
}

void answer_list(const Call& call, const ListQuery& query) {
  EXPECT(query.limit >= 1 && query.limit <= kMaxListLimit);
  EXPECT(check_name_prefix(query.prefix) && check_name_prefix(query.after));
  expect_answer(call, Result<ListPage>(ListPage{}), true, {});
  expect_answer(call, Result<ListPage>(ListPage{{{"a", 1}, {"b", -1}}, "b"}), true, {});
  expect_answer(call, Result<ListPage>(Error{Code::kConfig, "away"}), false, {});
}

void answer_probe(const Call& call) {
  expect_answer(call, Result<StoreStatus>(StoreStatus{"sqlite", "/\xff\"", "all"}), true, {});
  expect_answer(call, Result<StoreStatus>(Error{Code::kUnavailable, "away"}), false, {});
}

void try_request(const RequestHead& head, std::string_view body, const ApiOptions& options) {
  const Decoded decoded = decode(head, body, options);
  EXPECT(decoded.call.head_only == (head.method == "HEAD"));
  if (const auto* refusal = std::get_if<Response>(&decoded.result)) {
    expect_problem(*refusal);
    expect_message_of(*refusal, decoded.call.head_only);
    return;
  }
  EXPECT(host_of(head.host) == "localhost" || (head.http_1_0 && head.host.empty()));
  const Question& question = std::get<Question>(decoded.result);
  if (const auto* operation = std::get_if<Operation>(&question)) {
    expect_allowed(*operation, head, options);
    expect_same_when_written(*operation);
    answer_operation(decoded.call, *operation);
  } else if (const auto* query = std::get_if<ListQuery>(&question)) {
    answer_list(decoded.call, *query);
  } else if (std::holds_alternative<Probe>(question)) {
    answer_probe(decoded.call);
  } else {
    expect_answer(decoded.call, Nothing{}, true, {});
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = as_text(data, size);
  const auto head = read_request_head(input);
  if (!head) {
    const Response response = problem_response(head.error());
    expect_problem(response);
    expect_message_of(response, false);
  } else if (head->has_value()) {
    // A body that is shorter than it says is not waited for: no seed would survive a mutation.
    const std::string_view body = input.substr((*head)->size).substr(0, (*head)->body_size);
    try_request(**head, body, {{{"localhost"}, false}, false});
    try_request(**head, body, {{{"localhost"}, false}, true});
  }
  return 0;
}
