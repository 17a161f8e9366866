// Counters of a daemon, over HTTP.
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/counters.h"
#include "cli/http_client.h"
#include "cli/server_option.h"
#include "common/counter_name.h"
#include "common/idempotency_key.h"
#include "common/number.h"
#include "common/operation_text.h"
#include "common/quote.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

using Json = nlohmann::json;

struct Reply {
  Error error;     // kOk: there is none
  Json body = {};  // an object with kOk; else the problem document, if there is one
};

class ServerCounters : public Counters {
 public:
  explicit ServerCounters(const Endpoint& server) : server_(server), client_(server) {}

  void apply(Step& step, Deadline deadline) override;
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<CountersStatus> status(Deadline deadline) override;

 private:
  // `when_lost`: the code of the error where it is not known whether the server did what it was
  // asked, kUnavailable if that changes nothing.
  Reply ask(const HttpRequest& request, Code when_lost, Deadline deadline);
  Error strange_answer(Code code = Code::kUnavailable) const;
  Error failure(const Error& error, Code when_lost) const;
  Reply refusal(const HttpReply& reply, Code when_lost) const;

  const Endpoint server_;
  HttpClient client_;
};

// A string member, in a form that is safe to show; empty if it is not a string.
std::string text(const Json& object, const char* name) {
  const auto found = object.find(name);
  const bool is_text = found != object.end() && found->is_string();
  return is_text ? escape_controls(found->get_ref<const std::string&>()) : "";
}

Reply ServerCounters::ask(const HttpRequest& request, Code when_lost, Deadline deadline) {
  const Result<HttpReply> reply = client_.ask(request, deadline);
  if (!reply) return {failure(reply.error(), when_lost)};
  if (reply->status != 200) return refusal(*reply, when_lost);
  Json body = Json::parse(reply->body, nullptr, false);
  if (!body.is_object()) return refusal(*reply, when_lost);
  return {{Code::kOk, ""}, std::move(body)};
}

Error ServerCounters::strange_answer(Code code) const {
  return {code, to_url(server_) + " does not answer like counterd"};
}

// The end of a message that nothing answers there: how to start a daemon, if it can be on this
// host. A daemon that is spawned in the place of a service, or without the flags that another one
// had, counts in another database.
std::string way_to_start(const Endpoint& server) {
  const bool is_here = server.is_unix() || server.host == "localhost" || server.host == "::1" ||
                       server.host.starts_with("127.");
  if (!is_here) return "";
  return "; a daemon is started with: counterctl spawn" + server_option(server) +
         " (and its flags after --, if it had any), or, where it is a service: "
         "systemctl start counterd";
}

// What an error of the client means.
Error ServerCounters::failure(const Error& error, Code when_lost) const {
  const std::string url = to_url(server_);
  if (error.code == Code::kForbidden) {
    return {error.code, "cannot connect to " + url + " (" + error.message + ")"};
  }
  if (error.code == Code::kUnavailable) {
    return {error.code,
            "nothing answers at " + url + " (" + error.message + ")" + way_to_start(server_)};
  }
  if (error.code == Code::kBadBody) return strange_answer(when_lost);
  return {when_lost, "no answer from " + url + ": " + error.message};
}

// What a reply other than 200 means; by its problem type, if it is one of counterd's.
Reply ServerCounters::refusal(const HttpReply& reply, Code when_lost) const {
  Json problem = Json::parse(reply.body, nullptr, false);
  if (problem.is_object()) {
    const std::optional<Code> code = code_of_problem_type(text(problem, "type"));
    if (code) return {{*code, text(problem, "detail")}, std::move(problem)};
  }
  // Not counterd: perhaps a proxy in front of it, whose errors say nothing about what was applied.
  constexpr int kRequestTimeout = 408;  // which a proxy may say after it has passed a request on
  const bool nothing_done =
      reply.status >= 400 && reply.status < 500 && reply.status != kRequestTimeout;
  Error error = strange_answer(nothing_done ? Code::kUnavailable : when_lost);
  error.message += " (HTTP status " + std::to_string(reply.status) + ")";
  return {std::move(error)};
}

// 0: the body does not give it.
std::int64_t moment(const Json& body, const char* name) {
  return parse_timestamp(text(body, name)).value_or(0);
}

std::optional<std::int64_t> integer(const Json& body, const char* name) {
  const auto found = body.find(name);
  if (found == body.end() || !found->is_number_integer()) return std::nullopt;
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  if (found->is_number_unsigned() && found->get<std::uint64_t>() > kLargest) return std::nullopt;
  return found->get<std::int64_t>();
}

// The operation's parameters as a query. In their values only a '+', as in Etc/GMT+5, needs
// encoding.
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
  HttpRequest request{"POST", "/v1/counters/" + operation.name};
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

// The outcome of an operation on one counter, if `body` gives it.
std::optional<Outcome> applied_outcome(const Operation& operation, const Json& body) {
  const bool deleted = operation.kind == OperationKind::kDelete;
  const std::optional<std::int64_t> value = integer(body, deleted ? "previous" : "value");
  if (!value || text(body, "name") != operation.name) return std::nullopt;
  Outcome outcome;
  outcome.value = *value;
  outcome.previous = integer(body, "previous");
  outcome.created_at_ms = moment(body, "created_at");
  outcome.updated_at_ms = moment(body, "updated_at");
  outcome.expires_at_ms =
      moment(body, operation.kind == OperationKind::kReport ? "expires_at" : "resets_at");
  if (operation.bounds.clamp) {
    outcome.previous = wrapping_subtract(*value, integer(body, "applied").value_or(0));
  }
  return outcome;
}

// The same, from a problem document.
Outcome refused_outcome(const Error& error, const Json& problem) {
  Outcome outcome = failed(error);
  if (outcome.code == Code::kLimitReached) outcome.code = Code::kBeyondBound;
  outcome.value = integer(problem, "value").value_or(0);
  outcome.expires_at_ms = moment(problem, "resets_at");
  outcome.window = text(problem, "window");
  return outcome;
}

// The same, for a group as a whole. What is told of the member that refused it becomes that
// member's own, without the place of it in the group: the problem has not all that it says.
Outcome refused_group(const Operation& group, const Error& error, const Json& problem) {
  Outcome outcome = refused_outcome(error, problem);
  const std::optional<std::int64_t> index = integer(problem, "index");
  if (!index || *index < 0 || *index >= static_cast<std::int64_t>(group.members.size())) {
    return outcome;
  }
  const auto number = static_cast<std::size_t>(*index) + 1;
  const std::string place = place_in_group(number, group.members.size());
  const bool has_place = error.message.starts_with(place);
  outcome.detail.clear();
  outcome.members.resize(number);
  outcome.members.back() =
      refused_outcome({error.code, has_place ? error.message.substr(place.size()) : ""}, problem);
  return outcome;
}

// The outcomes of a group's members; nothing: `body` does not give them.
std::optional<std::vector<Outcome>> member_outcomes(const Operation& group, const Json& body) {
  const auto found = body.find("outcomes");
  if (found == body.end() || !found->is_array() || found->size() != group.members.size()) {
    return std::nullopt;
  }
  std::vector<Outcome> outcomes;
  for (const Json& told : *found) {
    if (!told.is_object()) return std::nullopt;
    const std::optional<Code> code = code_of_problem_type(text(told, "type"));
    std::optional<Outcome> outcome = code ? refused_outcome({*code, text(told, "detail")}, told)
                                          : applied_outcome(group.members[outcomes.size()], told);
    if (!outcome) return std::nullopt;
    outcomes.push_back(std::move(*outcome));
  }
  return outcomes;
}

std::optional<Outcome> outcome_of_reply(const Operation& operation, const Json& body) {
  if (!is_group(operation)) return applied_outcome(operation, body);
  std::optional<std::vector<Outcome>> members = member_outcomes(operation, body);
  if (!members) return std::nullopt;
  Outcome outcome;
  outcome.members = std::move(*members);
  return outcome;
}

void ServerCounters::apply(Step& step, Deadline deadline) {
  const Operation& operation = step.operation;
  const Code when_lost = changes_something(operation) ? Code::kUnknown : Code::kUnavailable;
  const auto [error, body] = ask(request_for(operation), when_lost, deadline);
  if (error.code != Code::kOk) {
    step.outcome =
        is_group(operation) ? refused_group(operation, error, body) : refused_outcome(error, body);
    return;
  }
  std::optional<Outcome> outcome = outcome_of_reply(operation, body);
  step.outcome = outcome ? std::move(*outcome) : failed(strange_answer(when_lost));
}

// The page of a list that continues after the name `after`, if `body` gives it.
std::optional<ListPage> read_page(const Json& body, const std::string& after) {
  ListPage page;
  const auto rows = body.find("counters");
  if (rows == body.end() || !rows->is_array()) return std::nullopt;
  std::string last = after;
  for (const Json& row : *rows) {
    const std::optional<std::int64_t> value =
        row.is_object() ? integer(row, "value") : std::optional<std::int64_t>();
    if (!value) return std::nullopt;
    std::string name = text(row, "name");
    // A list whose names do not ascend might never end.
    if (!check_counter_name(name) || name <= last) return std::nullopt;
    last = name;
    page.rows.push_back({std::move(name), *value});
  }
  page.next = text(body, "next");
  if (!page.next.empty() && page.next <= after) return std::nullopt;
  return page;
}

Result<ListPage> ServerCounters::list(const ListQuery& query, Deadline deadline) {
  const std::string target = "/v1/counters?prefix=" + query.prefix + "&after=" + query.after +
                             "&limit=" + std::to_string(query.limit);
  const auto [error, body] = ask({"GET", target}, Code::kUnavailable, deadline);
  if (error.code != Code::kOk) return error;
  if (std::optional<ListPage> page = read_page(body, query.after)) return std::move(*page);
  return strange_answer();
}

Result<CountersStatus> ServerCounters::status(Deadline deadline) {
  const auto [error, body] = ask({"GET", "/v1/status"}, Code::kUnavailable, deadline);
  CountersStatus status{to_url(server_), text(body, "version"), error};
  if (status.version.empty()) return error.code == Code::kOk ? strange_answer() : error;
  if (error.code != Code::kOk) return status;
  const auto store = body.find("store");
  if (store == body.end() || !store->is_object()) return strange_answer();
  status.store = StoreStatus{text(*store, "engine"), text(*store, "location"),
                             text(*store, "durability"), text(*store, "change_failure")};
  if (status.store->engine.empty()) return strange_answer();
  return status;
}

}  // namespace

std::unique_ptr<Counters> counters_of_server(const Endpoint& server) {
  return std::make_unique<ServerCounters>(server);
}

}  // namespace counterd
