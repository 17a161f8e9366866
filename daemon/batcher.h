// Between the event loop and the store: gathers what connections ask, and puts all of it to the
// store at once.
//
// Everything here belongs to the event loop: between the loop's rounds its thread waits for the
// store's turn, if there is a change to make, *then* takes what has gathered, applies it and
// delivers the answers. If the store takes long, a second thread runs the loop in the meantime
// (stand_in.h) and goes on gathering.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "common/deadline.h"
#include "common/store/store.h"
#include "daemon/gathering.h"
#include "daemon/question.h"
#include "daemon/stand_in.h"
#include "daemon/store_health.h"

namespace counterd {

// Receives the answers to submitted questions.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // The answer to the question that was submitted as `number`. May come for a question that was
  // given up; it is then ignored.
  virtual void finish(std::uint64_t number, Answer answer) = 0;
};

class Batcher {
 public:
  // `timeout` is the longest that a question waits for the store's turn, and also the longest that
  // the store may then work on it. The calling thread is the one that calls run().
  Batcher(asio::io_context& loop, std::unique_ptr<Store> store, std::chrono::milliseconds timeout);

  // Runs the event loop, and asks the store between its rounds, until stop(). REQUIRES: until then
  // the loop has work and is not itself stopped
  void run();
  // Ends run() once the calls to the store that are in progress have returned. Called on the event
  // loop, when nobody is waiting any more.
  void stop() { stopped_ = true; }
  // Closes the store for good; meanwhile the event loop goes on as in run().
  void close();

  // Asks the store; the answer goes to waiter->finish(number, …). Operations are applied in the
  // order submitted, and a list sees those that the same waiter has submitted before it. But large
  // groups let pass what is submitted before they are answered, also by the same waiter; and
  // reports do not wait for long for other waiters' changes that do not get the turn. Returns
  // false, without taking the question, if it would bring the unanswered operations above
  // their limit (limits.h). Called on the event loop. REQUIRES: it is not Nothing
  bool submit(Question&& question, std::shared_ptr<Waiter> waiter, std::uint64_t number);
  // Whether so much waits for the store that nobody should ask for more than one thing at once.
  bool is_crowded() const { return unanswered_ > kMaxWaitingOperations / 2; }

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
  struct List {
    ListQuery query;
    Ticket ticket;
  };

  bool handle_some();
  Deadline due(Time now);
  bool is_full() const;
  bool has_queries() const { return !lists_.empty() || !probes_.empty(); }
  void wait_until(Deadline deadline);
  void set_alarm(Deadline deadline);
  void serve();
  void serve_waiting();
  void serve_large();
  Batch next_batch(Batch& queue);
  Deadline end_of(const Ticket& oldest) const;
  void serve_probes();
  bool asks_more(const Ticket& ticket) const;
  void serve_list(const List& list);
  std::chrono::steady_clock::duration apply(Batch batch);
  bool take_turn(Batch& queue);
  void answer_without_turn(Batch& queue, const Error& error);
  void learn();
  void expect(std::size_t steps, std::chrono::steady_clock::duration commit);
  static Batch take_batch(Batch& from);
  void note_hang();
  void note_query(const Error* failure);
  static void log(const std::optional<std::string>& message);
  void deliver(Batch batch);
  void deliver(const Ticket& ticket, Answer answer);

  asio::io_context& loop_;
  std::unique_ptr<Store> store_;
  const std::chrono::milliseconds timeout_;
  asio::steady_timer alarm_;
  Deadline alarm_time_ = Deadline::max();
  StandIn stand_in_;

  bool stopped_ = false;
  bool has_answered_ = false;  // the store has answered a question
  Batch waiting_;
  Batch large_;  // groups that take a batch each: of many, every other operation would wait for all
  // Questions that are no operations: each list is put to the store by itself, all probes at once.
  std::deque<List> lists_;
  std::vector<Ticket> probes_;
  std::size_t unanswered_ = 0;  // operations, lists and probes that have no answer yet
  Gathering gathering_;
  StoreHealth health_;
};

}  // namespace counterd
