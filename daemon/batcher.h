// Between the event loop and the store: gathers what connections ask, and asks the store for all
// of it at once.
//
// All of it is the event loop's: between the loop's rounds its thread waits for the store's turn,
// if there is a change to make, *then* takes what has gathered, applies it and gives the answers.
// Where the store takes long, a second thread runs the loop meanwhile (stand_in.h), and goes on
// gathering.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "common/store/store.h"
#include "daemon/api.h"
#include "daemon/stand_in.h"

namespace counterd {

// Who waits for answers.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // The answer to the question that was submitted as `number`. May come for one that was given
  // up, and is ignored then.
  virtual void finish(std::uint64_t number, Answer answer) = 0;
};

class Batcher {
 public:
  // `timeout` is the longest that a question waits for the store's turn, and that the store may
  // then work on it. The calling thread is the one of run().
  Batcher(asio::io_context& loop, std::unique_ptr<Store> store, std::chrono::milliseconds timeout);

  // Runs the event loop, and asks the store between its rounds, until stop(). REQUIRES: the loop
  // has work until then, and is not stopped itself
  void run();
  // Ends run() behind the calls to the store that are under way. Called on the event loop, when
  // nobody waits any more.
  void stop() { stopped_ = true; }
  // Closes the store, for good, while the event loop goes on as in run().
  void close();

  // Asks the store; the answer goes to waiter->finish(number, …). Operations are applied in their
  // order; a list sees those that were submitted before it. But reports, lists and probes do not
  // wait for changes that do not get the turn. False: with this one there would be more than
  // kMaxWaitingOperations without an answer, and it was not taken. Called on the event loop.
  bool submit(Question question, std::shared_ptr<Waiter> waiter, std::uint64_t number);

 private:
  struct Ticket {
    std::shared_ptr<Waiter> waiter;
    std::uint64_t number = 0;
    Deadline deadline;  // for the store's turn
  };
  struct Batch {
    std::vector<Step> steps;
    std::vector<Ticket> tickets;  // one for each step
  };
  // What is no operation, and is asked alone.
  struct Query {
    std::variant<ListQuery, Probe> question;
    Ticket ticket;
    std::uint64_t not_before = 0;  // that many steps have been taken_
  };
  struct Waiting {
    Batch batch;
    std::deque<Query> queries;
    bool empty() const { return batch.steps.empty() && queries.empty(); }
  };

  bool handle_some();
  Deadline due();
  void wait_until(Deadline deadline);
  void set_alarm(Deadline deadline);
  void serve();
  void serve_batch();
  void serve_query(std::size_t place);
  void answer_without_turn(const Error& error, Deadline turn_deadline);
  void learn();
  void expect(std::size_t operations);
  Batch take_batch();
  std::vector<Ticket> take_probes();
  void note_health(const Error* failure);
  void note_look(const Error* failure);
  void note_health(std::span<const Step> batch);
  void deliver(Batch batch);
  void deliver(const Ticket& ticket, Answer answer);

  asio::io_context& loop_;
  std::unique_ptr<Store> store_;
  const std::chrono::milliseconds timeout_;
  asio::steady_timer alarm_;
  Deadline alarm_time_ = Deadline::max();
  StandIn stand_in_;

  bool stopped_ = false;
  Waiting waiting_;
  // Steps from waiting_ so far. Those that went back, for they have not got the turn, are counted
  // again: as many behind them may be overtaken by a list.
  std::uint64_t taken_ = 0;
  std::size_t unanswered_ = 0;  // operations, and other questions, that have no answer yet

  // Who may come together for the next batch, and until when they are waited for.
  std::size_t expected_ = 0;
  Deadline patience_end_;
  std::optional<Deadline> last_ones_end_;  // since most have come
  bool waited_ = false;                    // for most of them
  std::chrono::steady_clock::duration commit_time_{0};
  std::size_t skip_ = 0;     // batches that begin without waiting
  std::size_t skipped_ = 0;  // ... since they came in vain last time

  std::string failure_;  // of the store, as logged; empty: it answers
  Code failure_code_ = Code::kOk;
};

}  // namespace counterd
