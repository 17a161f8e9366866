// A client that asks at random, records what it was told, and asks again, with the same idempotency
// key, for whatever outcome it does not know.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "tests/faults/history.h"
#include "tests/faults/random.h"
#include "tests/http_socket.h"

namespace counterd::faults {

struct Request {
  Kind kind = Kind::kReport;
  int counter = 0;
  std::string name = {};  // of the counter
  std::int64_t operand = 0;
  std::string key = {};
};

struct Answer {
  enum class Code : unsigned char {
    kDone,
    kNothing,  // it has not been applied by this request, and will not be
    kUnknown,
    kWrong,  // an answer that must never be given
  };
  Code code = Code::kUnknown;
  std::int64_t value = 0;
  std::int64_t previous = 0;
  bool replayed = false;
  bool tells_replays = false;  // `replayed` is meaningful
  std::string text = {};       // for people
};

// A way to ask.
class Asker {
 public:
  virtual ~Asker() = default;
  virtual Answer ask(const Request& request) = 0;
  // Whether it can do all that HTTP can; else only increments and reports.
  virtual bool resets() const { return true; }
};

// Over HTTP, each connection to one of several addresses.
class HttpAsker : public Asker {
 public:
  HttpAsker(std::vector<Endpoint> endpoints, Random random)
      : endpoints_(std::move(endpoints)), random_(std::move(random)) {}
  Answer ask(const Request& request) override;

 private:
  const std::vector<Endpoint> endpoints_;
  Random random_;
  std::optional<HttpSocket> socket_;
};

// By counterctl, directly on the store.
class ToolAsker : public Asker {
 public:
  ToolAsker(std::vector<std::string> command, std::vector<std::string> environment)
      : command_(std::move(command)), environment_(std::move(environment)) {}
  Answer ask(const Request& request) override;
  bool resets() const override { return false; }

  // Ends the one that is running, if any.
  bool kill();
  // Ends it, and lets none start as long as the returned lock lives.
  [[nodiscard]] std::unique_lock<std::mutex> forbid();

 private:
  pid_t start(std::vector<std::string>& words, int output);

  const std::vector<std::string> command_;
  std::vector<std::string> environment_;
  std::mutex gate_;       // held while one runs
  std::mutex pid_mutex_;  // guards pid_
  pid_t pid_ = 0;
};

struct Counters {
  int plain = 0;       // the first ones: never reset
  int resettable = 0;  // those after them
  int all() const { return plain + resettable; }
  std::string name(int counter) const {
    return counter < plain ? "plain" + std::to_string(counter)
                           : "reset" + std::to_string(counter - plain);
  }
};

struct Tally {
  std::int64_t operations = 0;  // requests that were answered
  std::int64_t unknown = 0;     // changes that were asked for again because of that
  std::int64_t nothing = 0;
  std::int64_t replays = 0;  // answers of an operation that was done before
  std::int64_t checks = 0;   // ... of those asked for again although it was known
};

class Client {
 public:
  Client(std::string name, Asker& asker, Random random, const Counters& counters,
         std::atomic<int>& resets, std::chrono::microseconds pause)
      : name_(std::move(name)),
        asker_(asker),
        random_(std::move(random)),
        counters_(counters),
        resets_(resets),
        pause_(pause) {}

  // Asks while `more`, then again for what is unknown, until `give_up`.
  void run(const std::atomic<bool>& more, const std::atomic<bool>& give_up);

  // After run().
  const std::vector<Event>& events() const { return events_; }
  const std::vector<std::string>& wrong() const { return wrong_; }
  std::size_t unresolved() const { return pending_.size(); }
  const Tally& tally() const { return tally_; }

 private:
  // A change that is to be asked for again.
  struct Pending {
    Request request;
    std::int64_t begin = 0;
    std::int64_t due = 0;
    bool unknown = false;  // it may have been applied
  };

  void ask_something();
  void ask_for(Pending pending, bool first);
  void ask_again_for_known();
  void report();
  Request some_change();
  void note_wrong(const Request& request, const Answer& answer);

  const std::string name_;
  Asker& asker_;
  Random random_;
  const Counters& counters_;
  std::atomic<int>& resets_;  // so far, of all clients
  const std::chrono::microseconds pause_;
  std::int64_t keys_ = 0;
  std::vector<Pending> pending_;
  std::vector<Event> events_;
  std::vector<std::pair<Request, Event>> known_;  // some of those that are done
  std::vector<std::string> wrong_;
  Tally tally_;
};

}  // namespace counterd::faults
