#include "cli/load.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "cli/http_client.h"
#include "common/json.h"
#include "common/process.h"
#include "common/unique_fd.h"
#include "common/uuid.h"

namespace counterd {
namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

constexpr std::size_t kReadBytes = 4096;

// The longest wait for a connection, and for answers when the time is over.
constexpr std::chrono::seconds kConnectTimeout{5};
constexpr std::chrono::seconds kLastPatience{5};

class Load {
 public:
  Load(const LoadPlan& plan, UniqueFd signals,
       const std::function<void(const LoadResult&)>& progress)
      : plan_(plan),
        progress_(progress),
        due_(loop_),
        tick_(loop_),
        patience_(loop_),
        signals_(loop_, signals.release()) {}

  Result<LoadResult> run();

 private:
  struct Connection {
    explicit Connection(asio::io_context& loop) : socket(loop) {}
    asio::posix::stream_descriptor socket;
    std::string request;
    std::string input;
    Time asked;
    bool waits = false;  // for an answer
  };

  Result<void> connect(Connection& connection);
  std::string next_request();
  Time due_at(std::uint64_t number) const;
  void go_on(Connection& connection);
  void ask(Connection& connection, Time since);
  void ask_what_is_due();
  void receive(Connection& connection);
  void take_reply(Connection& connection);
  void lose(Connection& connection, const std::string& why);
  void note_failure(const std::string& what);
  void tick();
  void expect_interruption();
  void interrupt();
  void end_at(Time end);
  void stop_if_done();
  void count_unanswered();
  bool is_over() const { return steady_clock::now() >= end_; }

  const LoadPlan& plan_;
  const std::function<void(const LoadResult&)>& progress_;
  asio::io_context loop_;
  asio::steady_timer due_;
  asio::steady_timer tick_;
  asio::steady_timer patience_;
  asio::posix::stream_descriptor signals_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> idle_;  // at a rate: wait until the next request is due
  std::uint64_t asked_ = 0;
  std::minstd_rand random_{std::random_device{}()};
  Time start_;
  Time end_;
  Time interrupted_;  // the first time
  LoadResult result_;
};

Result<LoadResult> Load::run() {
  for (int i = 0; i < plan_.connections; ++i) {
    Connection& connection = *connections_.emplace_back(std::make_unique<Connection>(loop_));
    if (const Result<void> connected = connect(connection); !connected) return connected.error();
  }
  start_ = steady_clock::now();
  end_at(start_ + plan_.duration);
  for (const auto& connection : connections_) go_on(*connection);
  tick();
  expect_interruption();
  loop_.run();
  count_unanswered();
  result_.time = end_ - start_;
  return result_;
}

void Load::expect_interruption() {
  signals_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [this](const asio::error_code& failure) {
                        if (!failure) interrupt();
                      });
}

// Requests already sent still get their answers, unless a second signal comes.
void Load::interrupt() {
  signalfd_siginfo signal{};
  if (read(signals_.native_handle(), &signal, sizeof signal) != sizeof signal) return;
  expect_interruption();
  const Time now = steady_clock::now();
  if (result_.interrupted_by != 0) {
    if (now >= interrupted_ + kOneSignal) loop_.stop();
    return;
  }
  result_.interrupted_by = static_cast<int>(signal.ssi_signo);
  interrupted_ = now;
  end_at(std::min(end_, now));  // it may be waiting for the last answers
  due_.cancel();
  tick_.cancel();
  stop_if_done();
}

// Asks nothing from `end` on, and waits no longer than kLastPatience after that.
void Load::end_at(Time end) {
  end_ = end;
  patience_.expires_at(end_ + kLastPatience);
  patience_.async_wait([this](const asio::error_code& cancelled) {
    if (!cancelled) loop_.stop();
  });
}

// When the last answer has come.
void Load::stop_if_done() {
  const auto waits = [](const auto& connection) { return connection->waits; };
  if (is_over() && std::ranges::none_of(connections_, waits)) loop_.stop();
}

Result<void> Load::connect(Connection& connection) {
  Result<UniqueFd> socket = connect_to_server(plan_.server, steady_clock::now() + kConnectTimeout);
  if (!socket) {
    return Error{Code::kUnavailable,
                 "cannot connect to " + to_url(plan_.server) + ": " + socket.error().message};
  }
  connection.socket = asio::posix::stream_descriptor(loop_, socket->release());
  return {};
}

std::string Load::next_request() {
  const auto chance = [this](int of) {
    return std::uniform_int_distribution<int>(0, of - 1)(random_);
  };
  const bool reports = plan_.reports > 0 && chance(100) < plan_.reports;
  const std::string target =
      "/v1/counters/" + load_counter(plan_.counters > 1 ? chance(plan_.counters) : 0);
  if (reports) return to_bytes({"GET", target}, plan_.server);
  std::string fields;
  if (plan_.keyed) {
    if (const Result<std::string> key = make_uuid()) {
      fields = "Idempotency-Key: \"" + *key + "\"\r\nIdempotency-Key-Lifetime: 60\r\n";
    }
  }
  return to_bytes({"POST", target + "/increment", fields}, plan_.server);
}

Time Load::due_at(std::uint64_t number) const {
  return start_ + std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(
                      static_cast<double>(number) / static_cast<double>(plan_.rate)));
}

// `connection` is free. At a rate, what was due in time is sent even if it is late.
void Load::go_on(Connection& connection) {
  if (plan_.rate == 0) {
    if (!is_over()) ask(connection, steady_clock::now());
    return;
  }
  idle_.push_back(&connection);
  ask_what_is_due();
}

// Sends all that is due by now on idle connections, and wakes up for the next.
void Load::ask_what_is_due() {
  while (!idle_.empty()) {
    const auto due = due_at(asked_);
    if (due >= end_) return;
    if (due > steady_clock::now()) {
      due_.expires_at(due);
      due_.async_wait([this](const asio::error_code& failure) {
        if (!failure) ask_what_is_due();
      });
      return;
    }
    Connection& connection = *idle_.back();
    idle_.pop_back();
    ask(connection, due);
  }
}

void Load::ask(Connection& connection, Time since) {
  ++asked_;
  connection.asked = since;
  connection.waits = true;
  connection.request = next_request();
  asio::async_write(connection.socket, asio::buffer(connection.request),
                    [this, &connection](const asio::error_code& failure, std::size_t) {
                      if (failure) return lose(connection, failure.message());
                      receive(connection);
                    });
}

void Load::receive(Connection& connection) {
  const std::size_t size = connection.input.size();
  connection.input.resize(size + kReadBytes);
  connection.socket.async_read_some(
      asio::buffer(&connection.input[size], kReadBytes),
      [this, &connection, size](const asio::error_code& failure, std::size_t got) {
        connection.input.resize(size + got);
        if (failure) return lose(connection, failure.message());
        take_reply(connection);
      });
}

void Load::take_reply(Connection& connection) {
  const Result<std::optional<ReplyHead>> read = read_reply_head(connection.input);
  if (!read) return lose(connection, read.error().message);
  const std::optional<ReplyHead>& reply = *read;
  if (!reply || connection.input.size() < reply->size + reply->body_size) {
    return receive(connection);
  }
  result_.latencies.add(steady_clock::now() - connection.asked);
  connection.waits = false;
  if (reply->status != 200) {
    ++result_.failed;
    note_failure("HTTP status " + std::to_string(reply->status) + ", " +
                 json_string_member(connection.input.substr(reply->size), "detail"));
  }
  if (reply->closes) return lose(connection, "");
  connection.input.clear();
  go_on(connection);
  stop_if_done();
}

// Replaces the connection. If `why` is not empty, an answer was lost with it.
void Load::lose(Connection& connection, const std::string& why) {
  if (!why.empty()) {
    ++result_.lost;
    note_failure(why);
  }
  connection.socket.close();
  connection.input.clear();
  connection.waits = false;
  if (is_over()) return stop_if_done();
  if (const Result<void> connected = connect(connection); !connected) {
    ++result_.lost;
    return note_failure(connected.error().message);
  }
  go_on(connection);
}

void Load::count_unanswered() {
  for (const auto& connection : connections_) result_.unanswered += connection->waits ? 1 : 0;
  if (plan_.rate > 0) {
    for (; due_at(asked_) < end_; ++asked_) ++result_.unanswered;
  }
  if (result_.unanswered > 0) note_failure("no answer");
}

void Load::note_failure(const std::string& what) {
  if (result_.failure.empty()) result_.failure = what;
}

void Load::tick() {
  if (is_over()) return stop_if_done();
  tick_.expires_at(std::min(end_, steady_clock::now() + std::chrono::seconds(1)));
  tick_.async_wait([this](const asio::error_code& cancelled) {
    if (cancelled) return;
    result_.time = steady_clock::now() - start_;
    progress_(result_);
    tick();
  });
}

}  // namespace

std::string load_counter(int number) {
  return "counterctl-bench." + std::to_string(number);
}

Result<LoadResult> run_load(const LoadPlan& plan, const sigset_t& signals,
                            const std::function<void(const LoadResult&)>& progress) {
  UniqueFd descriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!descriptor) return system_error(Code::kUnavailable, "cannot wait for signals", errno);
  return Load(plan, std::move(descriptor), progress).run();
}

}  // namespace counterd
