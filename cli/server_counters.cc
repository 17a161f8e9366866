// Counters of a daemon, over HTTP.
#include <nlohmann/json.hpp>

#include "cli/counters.h"
#include "cli/http_client.h"
#include "common/idempotency_key.h"
#include "common/number.h"
#include "common/operation_text.h"

namespace counterd {
namespace {

using Json = nlohmann::json;

struct Reply {
  Code code = Code::kOk;
  std::string detail;  // why it is not kOk
  Json body;           // an object with kOk; else the problem document, if there is one
};

class ServerCounters : public Counters {
 public:
  explicit ServerCounters(const Endpoint& server) : server_(server), client_(server) {}

  void apply(std::span<Step> steps, Deadline deadline) override {
    for (Step& step : steps) step.outcome = apply_one(step.operation, deadline);
  }
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<CountersStatus> status(Deadline deadline) override;

 private:
  Outcome apply_one(const Operation& operation, Deadline deadline);
  Reply ask(const HttpRequest& request, bool changes, Deadline deadline);
  Result<Json> look(const std::string& target, Deadline deadline);
  Reply failure(const Error& error, bool changes) const;
  Reply refusal(const HttpReply& reply, bool changes) const;

  const Endpoint server_;
  HttpClient client_;
};

// A member that is a string; empty if it is not.
std::string text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Reply ServerCounters::ask(const HttpRequest& request, bool changes, Deadline deadline) {
  const Result<HttpReply> reply = client_.ask(request, deadline);
  if (!reply) return failure(reply.error(), changes);
  if (reply->status != 200) return refusal(*reply, changes);
  Json body = Json::parse(reply->body, nullptr, false);
  if (!body.is_object()) return refusal(*reply, changes);
  return {Code::kOk, "", std::move(body)};
}

// Asks for something that changes nothing.
Result<Json> ServerCounters::look(const std::string& target, Deadline deadline) {
  Reply reply = ask({"GET", target, ""}, false, deadline);
  if (reply.code != Code::kOk) return Error{reply.code, std::move(reply.detail)};
  return std::move(reply.body);
}

Reply ServerCounters::failure(const Error& error, bool changes) const {
  if (error.code == Code::kUnavailable) {
    return {Code::kUnavailable,
            "nothing answers at " + to_url(server_) + "; start a daemon with: counterctl spawn",
            {}};
  }
  return {changes ? Code::kUnknown : Code::kUnavailable,
          "the connection to " + to_url(server_) + " was lost before the answer" +
              (changes ? "; the change may or may not have been made" : ""),
          {}};
}

// What a reply other than 200 means; by its problem type, if it is one of counterd's.
Reply ServerCounters::refusal(const HttpReply& reply, bool changes) const {
  Json problem = Json::parse(reply.body, nullptr, false);
  if (problem.is_object() && problem.contains("type") && problem["type"].is_string()) {
    const auto code = code_of_problem_type(problem["type"].get<std::string>());
    if (code) return {*code, text(problem, "detail"), std::move(problem)};
  }
  // Not counterd: perhaps a proxy before it, whose errors say nothing about what was applied.
  const bool nothing_done = !changes || (reply.status >= 400 && reply.status < 500);
  return {nothing_done ? Code::kUnavailable : Code::kUnknown,
          to_url(server_) + " does not answer like counterd (HTTP status " +
              std::to_string(reply.status) + ")",
          {}};
}

// 0: the body does not tell it.
std::int64_t moment(const Json& body, const char* name) {
  return parse_timestamp(text(body, name)).value_or(0);
}

std::optional<std::int64_t> integer(const Json& body, const char* name) {
  const auto found = body.find(name);
  if (found == body.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

// The operation's parameters as a query. Of what their values have only a '+', as in Etc/GMT+5,
// needs encoding.
std::string query_of(const Operation& operation) {
  std::string query;
  for (const auto& [name, value] : write_parameters(operation)) {
    query.append(query.empty() ? "?" : "&").append(name).append("=");
    for (const char c : value) c == '+' ? query.append("%2B") : query.append(1, c);
  }
  return query;
}

std::string key_fields(const Operation& operation) {
  std::string fields = "Idempotency-Key: " + quote_idempotency_key(operation.key) + "\r\n";
  const auto lifetime = std::chrono::ceil<std::chrono::seconds>(operation.key_lifetime);
  if (lifetime.count() > 0) {
    fields += "Idempotency-Key-Lifetime: " + std::to_string(lifetime.count()) + "\r\n";
  }
  return fields;
}

HttpRequest request_for(const Operation& operation) {
  HttpRequest request{"POST", "/v1/counters/" + operation.name, "", ""};
  switch (operation.kind) {
    case OperationKind::kIncrement:
      request.target += "/increment" + query_of(operation);
      break;
    case OperationKind::kReset:
      request.target += "/reset" + query_of(operation);
      break;
    case OperationKind::kDelete:
      request.method = "DELETE";
      break;
    case OperationKind::kReport:
      request.method = "GET";
      break;
    case OperationKind::kEach:
    case OperationKind::kAll:
      request.target = "/v1/batch";
      request.fields = "Content-Type: application/json\r\n";
      request.body = to_json(operation);
      break;
  }
  if (is_keyed(operation)) request.fields += key_fields(operation);
  return request;
}

// What came of an operation on one counter, if `body` tells it.
std::optional<Outcome> applied_outcome(const Operation& operation, const Json& body) {
  const bool deleted = operation.kind == OperationKind::kDelete;
  const std::optional<std::int64_t> value = integer(body, deleted ? "previous" : "value");
  if (!value) return std::nullopt;
  Outcome outcome;
  outcome.value = *value;
  outcome.previous = integer(body, "previous");
  outcome.expires_at_ms =
      moment(body, operation.kind == OperationKind::kReport ? "expires_at" : "resets_at");
  if (operation.bounds.clamp) {
    outcome.previous = wrapping_subtract(*value, integer(body, "applied").value_or(0));
  }
  return outcome;
}

// The same, of a problem document.
Outcome refused_outcome(Code code, std::string detail, const Json& problem) {
  Outcome outcome;
  outcome.code = code == Code::kLimitReached ? Code::kBeyondBound : code;
  outcome.detail = std::move(detail);
  outcome.value = integer(problem, "value").value_or(0);
  outcome.expires_at_ms = moment(problem, "resets_at");
  outcome.window = text(problem, "window");
  return outcome;
}

// The same, of a group as a whole. A member that has refused it is explained by its own outcome.
Outcome refused_group(const Operation& group, Code code, std::string detail, const Json& problem) {
  Outcome outcome = refused_outcome(code, std::move(detail), problem);
  const std::optional<std::int64_t> index = integer(problem, "index");
  if (!index || *index < 0 || *index >= static_cast<std::int64_t>(group.members.size())) {
    return outcome;
  }
  outcome.detail.clear();
  outcome.members.resize(static_cast<std::size_t>(*index) + 1);
  outcome.members.back().code = outcome.code;
  outcome.members.back().value = outcome.value;
  outcome.members.back().expires_at_ms = outcome.expires_at_ms;
  outcome.members.back().window = outcome.window;
  return outcome;
}

// What came of a group's members; nothing: `body` does not tell it.
std::optional<std::vector<Outcome>> member_outcomes(const Operation& group, const Json& body) {
  const auto found = body.find("outcomes");
  if (found == body.end() || !found->is_array() || found->size() != group.members.size()) {
    return std::nullopt;
  }
  std::vector<Outcome> outcomes;
  for (const Json& told : *found) {
    if (!told.is_object()) return std::nullopt;
    const std::optional<Code> code = code_of_problem_type(text(told, "type"));
    std::optional<Outcome> outcome = code ? refused_outcome(*code, text(told, "detail"), told)
                                          : applied_outcome(group.members[outcomes.size()], told);
    if (!outcome) return std::nullopt;
    outcomes.push_back(std::move(*outcome));
  }
  return outcomes;
}

std::optional<Outcome> read_outcome(const Operation& operation, const Json& body) {
  if (!is_group(operation)) return applied_outcome(operation, body);
  std::optional<std::vector<Outcome>> members = member_outcomes(operation, body);
  if (!members) return std::nullopt;
  Outcome outcome;
  outcome.members = std::move(*members);
  return outcome;
}

Outcome ServerCounters::apply_one(const Operation& operation, Deadline deadline) {
  const bool changes = changes_something(operation);
  const Reply reply = ask(request_for(operation), changes, deadline);
  if (reply.code != Code::kOk) {
    if (is_group(operation)) return refused_group(operation, reply.code, reply.detail, reply.body);
    return refused_outcome(reply.code, reply.detail, reply.body);
  }
  if (std::optional<Outcome> outcome = read_outcome(operation, reply.body)) return *outcome;
  Outcome outcome;
  outcome.code = changes ? Code::kUnknown : Code::kUnavailable;
  outcome.detail = to_url(server_) + " does not answer like counterd";
  return outcome;
}

Result<ListPage> ServerCounters::list(const ListQuery& query, Deadline deadline) {
  const Result<Json> body = look("/v1/counters?prefix=" + query.prefix + "&after=" + query.after +
                                     "&limit=" + std::to_string(query.limit),
                                 deadline);
  if (!body) return body.error();
  ListPage page;
  try {
    for (const Json& row : body->at("counters")) {
      page.rows.push_back({row.at("name").get<std::string>(), row.at("value").get<std::int64_t>()});
    }
    if (const Json& next = body->at("next"); !next.is_null()) page.next = next.get<std::string>();
  } catch (const Json::exception&) {
    return Error{Code::kUnavailable, to_url(server_) + " does not answer like counterd"};
  }
  return page;
}

Result<CountersStatus> ServerCounters::status(Deadline deadline) {
  const Result<Json> body = look("/v1/status", deadline);
  if (!body) return body.error();
  const Json store = body->value("store", Json::object());
  return CountersStatus{
      to_url(server_),
      text(*body, "version"),
      {text(store, "engine"), text(store, "location"), text(store, "durability")}};
}

}  // namespace

std::unique_ptr<Counters> connect_to_server(const Endpoint& server) {
  return std::make_unique<ServerCounters>(server);
}

}  // namespace counterd
