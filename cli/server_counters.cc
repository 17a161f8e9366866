// The HTTP client, on httplib's.
#include <httplib.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/counters.h"

#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
#error "compile with the flags of: pkg-config --cflags cpp-httplib"
#endif

namespace counterd {
namespace {

using Json = nlohmann::json;
using std::chrono::steady_clock;

// Ends a request that is under way at its deadline: httplib's own timeouts are for each read.
class Watchdog {
 public:
  Watchdog(httplib::ClientImpl& client, Deadline deadline)
      : thread_([this, &client, deadline] {
          std::unique_lock lock(mutex_);
          if (!done_changed_.wait_until(lock, deadline, [this] { return done_; })) client.stop();
        }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    done_changed_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_changed_;
  bool done_ = false;
  std::thread thread_;
};

class ServerCounters : public Counters {
 public:
  explicit ServerCounters(const Endpoint& server)
      : server_(server),
        client_(server.is_unix() ? server.path : server.host, server.is_unix() ? 80 : server.port) {
    if (server.is_unix()) client_.set_address_family(AF_UNIX);
    client_.set_keep_alive(true);
    client_.set_tcp_nodelay(true);
  }

  void apply(std::span<Step> steps, Deadline deadline) override {
    for (Step& step : steps) step.outcome = apply_one(step.operation, deadline);
  }
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<CountersStatus> status(Deadline deadline) override;

 private:
  Outcome apply_one(const Operation& operation, Deadline deadline);
  Result<Json> ask(httplib::Request request, bool changes, Deadline deadline);
  Result<Json> look(const std::string& target, Deadline deadline);
  Error failure(httplib::Error error, bool changes) const;
  Error refusal(const httplib::Response& response, bool changes) const;

  const Endpoint server_;
  httplib::ClientImpl client_;
};

Result<Json> ServerCounters::ask(httplib::Request request, bool changes, Deadline deadline) {
  const auto left = std::max(deadline - steady_clock::now(), steady_clock::duration(1));
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(left).count();
  client_.set_connection_timeout(microseconds / 1'000'000, microseconds % 1'000'000);
  client_.set_read_timeout(microseconds / 1'000'000, microseconds % 1'000'000);
  client_.set_write_timeout(microseconds / 1'000'000, microseconds % 1'000'000);
  // For a Unix socket httplib would name its path.
  if (server_.is_unix()) request.set_header("Host", "localhost");
  const Watchdog watchdog(client_, deadline);
  const httplib::Result result = client_.send(request);
  if (!result) return failure(result.error(), changes);
  if (result->status != 200) return refusal(*result, changes);
  Json body = Json::parse(result->body, nullptr, false);
  if (!body.is_object()) return refusal(*result, changes);
  return body;
}

// Asks for something that changes nothing.
Result<Json> ServerCounters::look(const std::string& target, Deadline deadline) {
  httplib::Request request;
  request.method = "GET";
  request.path = target;
  return ask(std::move(request), false, deadline);
}

Error ServerCounters::failure(httplib::Error error, bool changes) const {
  const bool never_sent = error == httplib::Error::Connection ||
                          error == httplib::Error::ConnectionTimeout ||
                          error == httplib::Error::BindIPAddress;
  if (never_sent) {
    return {Code::kUnavailable,
            "nothing answers at " + to_url(server_) + "; start a daemon with: counterctl spawn"};
  }
  return {changes ? Code::kUnknown : Code::kUnavailable,
          "the connection to " + to_url(server_) + " was lost before the answer" +
              (changes ? "; the change may or may not have been made" : "")};
}

// What a reply other than 200 means; by its problem type, if it is one of counterd's.
Error ServerCounters::refusal(const httplib::Response& response, bool changes) const {
  const Json problem = Json::parse(response.body, nullptr, false);
  if (problem.is_object() && problem.contains("type") && problem["type"].is_string()) {
    const auto code = code_of_problem_type(problem["type"].get<std::string>());
    if (code) return {*code, problem.value("detail", std::string())};
  }
  // Not counterd: perhaps a proxy before it, whose errors say nothing about what was applied.
  const bool nothing_done = !changes || (response.status >= 400 && response.status < 500);
  return {nothing_done ? Code::kUnavailable : Code::kUnknown,
          to_url(server_) + " does not answer like counterd (HTTP status " +
              std::to_string(response.status) + ")"};
}

std::optional<std::int64_t> integer(const Json& body, const char* name) {
  const auto found = body.find(name);
  if (found == body.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

// The key as a string of RFC 9651: what is in it cannot end it.
std::string quote_key(std::string_view key) {
  std::string quoted = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

httplib::Request request_for(const Operation& operation) {
  httplib::Request request;
  request.method = "POST";
  request.path = "/v1/counters/" + operation.name;
  switch (operation.kind) {
    case OperationKind::kIncrement:
      request.path += "/increment?by=" + std::to_string(operation.operand);
      break;
    case OperationKind::kReset:
      request.path += "/reset?to=" + std::to_string(operation.operand);
      break;
    case OperationKind::kDelete:
      request.method = "DELETE";
      break;
    case OperationKind::kReport:
      request.method = "GET";
      break;
  }
  if (is_keyed(operation)) {
    request.set_header("Idempotency-Key", quote_key(operation.key));
    const auto lifetime = std::chrono::ceil<std::chrono::seconds>(operation.key_lifetime);
    if (lifetime.count() > 0) {
      request.set_header("Idempotency-Key-Lifetime", std::to_string(lifetime.count()));
    }
  }
  return request;
}

Outcome ServerCounters::apply_one(const Operation& operation, Deadline deadline) {
  const bool changes = changes_something(operation);
  const Result<Json> body = ask(request_for(operation), changes, deadline);
  Outcome outcome;
  if (!body) {
    outcome.code = body.error().code;
    outcome.detail = body.error().message;
    return outcome;
  }
  outcome.previous = integer(*body, "previous");
  const bool deleted = operation.kind == OperationKind::kDelete;
  const std::optional<std::int64_t> value = deleted ? outcome.previous : integer(*body, "value");
  outcome.value = value.value_or(0);
  if (!value) {
    outcome.code = changes ? Code::kUnknown : Code::kUnavailable;
    outcome.detail = to_url(server_) + " does not answer like counterd";
  }
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
  const auto text = [](const Json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
  };
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
