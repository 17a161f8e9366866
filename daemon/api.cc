#include "daemon/api.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "common/ascii.h"
#include "common/counter_name.h"
#include "common/idempotency_key.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/outcome_json.h"
#include "common/quote.h"
#include "common/timestamp.h"
#include "common/version.h"
#include "daemon/parameters.h"
#include "daemon/refusal.h"

namespace counterd {

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kPlainText = "text/plain; charset=utf-8";

// What a route's decode function sees of a request, and may move out of.
struct Input {
  const RequestHead& head;
  std::string name;  // of the counter, in the path; checked
  std::string_view query;
  std::string_view body;
};

}  // namespace

constexpr std::string_view kNamePlace = "{name}";

struct Route {
  std::string_view method;
  std::string_view path;  // with kNamePlace for one segment, a counter's name
  Result<Question> (*decode)(Input& input);
  Response (*encode)(const Call& call, const Answer& answer, const Figures& figures);
  bool gets_may_write = false;  // GET does the same as POST, if the options allow it
  std::size_t name_at = path.find(kNamePlace);  // npos: the path has no name
};

namespace {

// --- decode, one function per route ---

Result<Parameters> read_from(const Input& input, std::span<const std::string_view> known) {
  return read_parameters(input.head, input.query, input.body, known);
}

template <OperationKind kind>
Result<Question> decode_operation(Input& input) {
  const Result<Parameters> parameters = read_from(input, parameters_of(kind));
  if (!parameters) return parameters.error();
  Result<Operation> operation = read_operation(kind, std::move(input.name), *parameters);
  if (!operation) return operation.error();
  return Question(std::move(*operation));
}

Result<Question> decode_group(Input& input) {
  Result<Operation> group = read_group(input.head, input.query, input.body);
  if (!group) return group.error();
  return Question(std::move(*group));
}

Result<Question> decode_list(Input& input) {
  constexpr std::array<std::string_view, 3> kKnown = {"prefix", "after", "limit"};
  const Result<Parameters> parameters = read_from(input, kKnown);
  if (!parameters) return parameters.error();
  ListQuery query;
  query.limit = kDefaultListLimit;
  if (const std::string* limit = find_parameter(*parameters, "limit")) {
    const Result<std::int64_t> number =
        parse_int64_within(*limit, "limit", 1, static_cast<std::int64_t>(kMaxListLimit));
    if (!number) return number.error();
    query.limit = static_cast<std::size_t>(*number);
  }
  if (const std::string* prefix = find_parameter(*parameters, "prefix")) query.prefix = *prefix;
  if (const std::string* after = find_parameter(*parameters, "after")) query.after = *after;
  for (const std::string& text : {query.prefix, query.after}) {
    if (const Result<void> checked = check_name_prefix(text); !checked) return checked.error();
  }
  return Question(std::move(query));
}

template <class Asked>
Result<Question> decode_plain(Input& input) {
  const Result<Parameters> parameters = read_from(input, {});
  if (!parameters) return parameters.error();
  return Question(Asked{});
}

// --- encode, one function per route ---

Response json_response(std::string body) {
  Response response;
  response.content_type = kJson;
  response.body = std::move(body);
  return response;
}

Response text_response(std::int64_t value) {
  Response response;
  response.content_type = kPlainText;
  response.body = std::to_string(value) + '\n';
  return response;
}

Response encode_operation(const Call& call, const Answer& answer, const Figures&) {
  const auto& [operation, outcome] = std::get<Step>(answer);
  if (outcome.code != Code::kOk) return refusal(operation, outcome);
  if (call.plain_text) return text_response(plain_value(operation, outcome));
  std::string body;
  body.reserve(128);
  append_outcome_json(body, operation, outcome);
  body += '\n';
  return json_response(std::move(body));
}

Response encode_group(const Call&, const Answer& answer, const Figures&) {
  const auto& [group, outcome] = std::get<Step>(answer);
  if (outcome.code != Code::kOk) return refusal(group, outcome);
  std::string body = R"({"outcomes":[)";
  body.reserve(64 * outcome.members.size());
  for (std::size_t i = 0; i < outcome.members.size(); ++i) {
    if (i > 0) body += ',';
    if (outcome.members[i].code == Code::kOk) {
      append_outcome_json(body, group.members[i], outcome.members[i]);
    } else {
      body += refusal_document(group.members[i], outcome.members[i]);
    }
  }
  body += "]}\n";
  return json_response(std::move(body));
}

// The seed's form of a report, on the default counter, which reads as 0 when it is missing.
Response encode_seed_report(const Call& call, const Answer& answer, const Figures& figures) {
  const auto& [operation, outcome] = std::get<Step>(answer);
  if (outcome.code != Code::kOk && outcome.code != Code::kMissing) {
    return refusal(operation, outcome);
  }
  const std::int64_t value = outcome.code == Code::kOk ? outcome.value : 0;
  if (call.plain_text) return text_response(value);
  std::string body = "{";
  append_json_member(body, "count", value);
  append_json_member(body, "current_process_id", figures.pid);
  body += "}\n";
  return json_response(std::move(body));
}

// To a client it makes no difference whether waiting or another configuration will help.
Response store_away(const Error& error, std::string_view members = {}) {
  return problem_response({Code::kUnavailable, error.message}, members);
}

Response encode_list(const Call&, const Answer& answer, const Figures&) {
  const auto& page = std::get<Result<ListPage>>(answer);
  if (!page) return store_away(page.error());
  std::string body = R"({"counters":[)";
  for (const ListPage::Row& row : page->rows) {
    if (&row != &page->rows.front()) body += ',';
    body += R"({"name":")";
    body += row.name;
    body += R"(","value":)";
    body += std::to_string(row.value);
    body += '}';
  }
  body += R"(],"next":)";
  body += page->next.empty() ? "null" : '"' + page->next + '"';
  body += "}\n";
  return json_response(std::move(body));
}

Response encode_status(const Call&, const Answer& answer, const Figures& figures) {
  const auto& status = std::get<Result<StoreStatus>>(answer);
  if (!status) {
    std::string version;
    append_json_member(version, "version", kVersion);
    return store_away(status.error(), version);
  }
  std::string body = "{";
  append_json_member(body, "version", kVersion);
  body += R"(,"store":{)";
  append_json_member(body, "engine", status->engine);
  append_json_member(body, "location", status->location);
  append_json_member(body, "durability", status->durability);
  if (!status->change_failure.empty()) {
    append_json_member(body, "change_failure", status->change_failure);
  }
  body += R"(},"worker":{)";
  append_json_member(body, "pid", figures.pid);
  append_json_member(body, "slot", figures.slot);
  append_json_member(body, "started_at", format_timestamp(figures.started_at_ms));
  append_json_member(body, "connections", figures.connections);
  append_json_member(body, "requests", figures.requests);
  body += "}}\n";
  return json_response(std::move(body));
}

Response encode_live(const Call&, const Answer&, const Figures&) {
  return json_response("{\"live\":true}\n");
}

Response encode_ready(const Call&, const Answer& answer, const Figures&) {
  const auto& status = std::get<Result<StoreStatus>>(answer);
  return status ? json_response("{\"ready\":true}\n") : store_away(status.error());
}

// --- the table ---

constexpr auto decode_increment = decode_operation<OperationKind::kIncrement>;
constexpr auto decode_reset = decode_operation<OperationKind::kReset>;
constexpr auto decode_delete = decode_operation<OperationKind::kDelete>;
constexpr auto decode_report = decode_operation<OperationKind::kReport>;
constexpr auto decode_probe = decode_plain<Probe>;
constexpr auto decode_nothing = decode_plain<Nothing>;

constexpr std::array kRoutes = {
    Route{"POST", "/v1/counters/{name}/increment", decode_increment, encode_operation},
    Route{"GET", "/v1/counters/{name}", decode_report, encode_operation},
    Route{"POST", "/v1/counters/{name}/reset", decode_reset, encode_operation},
    Route{"DELETE", "/v1/counters/{name}", decode_delete, encode_operation},
    Route{"GET", "/v1/counters", decode_list, encode_list},
    Route{"POST", "/v1/batch", decode_group, encode_group},
    Route{"GET", "/v1/status", decode_probe, encode_status},
    Route{"GET", "/livez", decode_nothing, encode_live},
    Route{"GET", "/readyz", decode_probe, encode_ready},
    Route{"POST", "/increment", decode_increment, encode_operation, true},
    Route{"GET", "/report", decode_report, encode_seed_report},
    Route{"POST", "/reset", decode_reset, encode_operation, true},
};

// --- from a request to a route and its input ---

// The text between `path`'s slashes where the route has "{name}", percent-encoded as it came;
// nothing if they do not match. The target is split before it is decoded: a %2F is part of a name
// (and no name may hold it), never a slash.
std::optional<std::string_view> match(const Route& route, std::string_view path) {
  const std::size_t at = route.name_at;
  if (at == std::string_view::npos) {
    return route.path == path ? std::optional<std::string_view>("") : std::nullopt;
  }
  const std::string_view behind = route.path.substr(at + kNamePlace.size());
  if (path.size() < at + behind.size() || !path.starts_with(route.path.substr(0, at)) ||
      !path.ends_with(behind)) {
    return std::nullopt;
  }
  const std::string_view name = path.substr(at, path.size() - at - behind.size());
  return name.find('/') == std::string_view::npos ? std::optional(name) : std::nullopt;
}

bool allows(const Route& route, std::string_view method, const ApiOptions& options) {
  if (route.method == method) return true;
  if (method == "HEAD") return route.method == "GET";
  return method == "GET" && route.gets_may_write && options.allow_get_writes;
}

struct Found {
  const Route* route = nullptr;
  std::string_view name;
  std::string allowed;  // the methods that the path supports, for the Allow field
};

Found find_route(std::string_view method, std::string_view path, const ApiOptions& options) {
  Found found;
  for (const Route& route : kRoutes) {
    const std::optional<std::string_view> name = match(route, path);
    if (!name) continue;
    if (allows(route, method, options)) {
      found.route = &route;
      found.name = *name;
      return found;
    }
    if (!found.allowed.empty()) found.allowed += ", ";
    found.allowed += route.method;
    if (route.method == "GET") found.allowed += ", HEAD";
    if (route.gets_may_write && options.allow_get_writes) found.allowed += ", GET";
  }
  return found;
}

// `allowed`: see Found.
Response no_route(std::string_view path, const std::string& allowed) {
  if (allowed.empty()) {
    return problem_response({Code::kNoRoute, "there is nothing at " + quote_for_people(path) +
                                                 "; counterd(8) lists the paths, such as "
                                                 "/v1/counters/NAME/increment"});
  }
  Response response = problem_response({Code::kMethodNotAllowed, "this path knows " + allowed});
  response.fields += "Allow: " + allowed + "\r\n";
  return response;
}

bool wants_plain_text(std::string_view accept) {
  if (accept.empty()) return false;
  const std::string types = lower_case(accept);
  return types.find("text/plain") != types.npos && types.find(kJson) == types.npos;
}

// Takes the idempotency key of a change; other operations have no use for one.
Result<void> read_key(const RequestHead& head, Operation& operation) {
  if (!head.idempotency_key || !changes_something(operation)) return {};
  Result<std::string> key = parse_idempotency_key(*head.idempotency_key);
  if (!key) return key.error();
  operation.key = std::move(*key);
  if (!head.idempotency_key_lifetime) return {};
  const Result<std::int64_t> seconds =
      parse_int64_within(*head.idempotency_key_lifetime, "Idempotency-Key-Lifetime", 1,
                         std::numeric_limits<std::int64_t>::max());
  if (!seconds) return seconds.error();
  constexpr std::int64_t kLongest = std::chrono::seconds(kMaxKeyLifetime).count();
  operation.key_lifetime = std::chrono::seconds(std::min(*seconds, kLongest));
  return {};
}

Result<Question> decode_for(const Found& found, const RequestHead& head, std::string_view query,
                            std::string_view body) {
  Input input{head, std::string(kDefaultCounter), query, body};
  if (found.route->name_at != std::string_view::npos) {
    // A name that is encoded wrongly stays as it is: no name has a '%'.
    std::optional<std::string> decoded = percent_decode(found.name);
    input.name = decoded ? std::move(*decoded) : std::string(found.name);
    if (const Result<void> name = check_counter_name(input.name); !name) return name.error();
  }
  Result<Question> question = found.route->decode(input);
  auto* const operation = question ? std::get_if<Operation>(&*question) : nullptr;
  if (operation == nullptr) return question;
  if (const Result<void> zones = resolve_timezones(*operation); !zones) return zones.error();
  if (const Result<void> key = read_key(head, *operation); !key) return key.error();
  return question;
}

}  // namespace

Decoded decode(const RequestHead& head, std::string_view body, const ApiOptions& options) {
  Call call{nullptr, wants_plain_text(head.accept), head.method == "HEAD"};
  std::string_view query = head.target;
  const std::string_view path = take_until(query, '?');
  const Found found = find_route(head.method, path, options);
  const bool changes = head.method == "POST" || head.method == "DELETE" ||
                       (found.route != nullptr && found.route->gets_may_write);
  if (const Result<void> sender = check_sender(head, options.senders, changes); !sender) {
    return {call, problem_response(sender.error())};
  }
  if (found.route == nullptr) return {call, no_route(path, found.allowed)};
  Result<Question> question = decode_for(found, head, query, body);
  if (!question) return {call, problem_response(question.error())};
  call.route = found.route;
  return {call, std::move(*question)};
}

Response encode(const Call& call, const Answer& answer, const Figures& figures) {
  Response response = call.route->encode(call, answer, figures);
  const auto* step = std::get_if<Step>(&answer);
  if (step != nullptr && step->outcome.replayed) {
    response.fields += "Idempotency-Replayed: true\r\n";
  }
  return response;
}

}  // namespace counterd
