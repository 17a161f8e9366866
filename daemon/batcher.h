// Between the event loop and the store: gathers what connections ask, and asks the store for all
// of it at once.
//
// The store belongs to one storage thread. Whenever that thread is free it waits for the store's
// turn, if there is a change to make, *then* takes what has gathered and applies it: a worker that
// waits for its turn goes on gathering. Answers reach their waiters on the event loop only when
// the store has returned.
#pragma once

#include <asio/io_context.hpp>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/store/store.h"
#include "daemon/api.h"

namespace counterd {

// Who waits for answers; called on the event loop.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // The answer to the question that was submitted as `number`. May come for one that was given
  // up, and is ignored then.
  virtual void finish(std::uint64_t number, Answer answer) = 0;
};

class Batcher {
 public:
  // Starts the storage thread. `timeout` is the longest that a question waits for the store's
  // turn, and that the store may then work on it.
  Batcher(asio::io_context& loop, std::unique_ptr<Store> store, std::chrono::milliseconds timeout);
  // Finishes what waits, then ends the thread.
  ~Batcher();

  // Asks the store; the answer goes to waiter->finish(number, …). Operations are applied in their
  // order; a list or a probe sees those that were submitted before it. False: with this one there
  // would be more than kMaxWaitingOperations without an answer, and it was not taken. Called on the
  // event loop.
  bool submit(Question question, std::shared_ptr<Waiter> waiter, std::uint64_t number);
  // Operations, and other questions, that have no answer yet. Called on the event loop.
  std::size_t unanswered() const { return unanswered_; }

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
  };
  struct Waiting {
    Batch batch;
    std::deque<Query> queries;
    bool empty() const { return batch.steps.empty() && queries.empty(); }
  };

  void hand_over();
  bool worth_waking() const;
  void run();
  void gather(std::unique_lock<std::mutex>& lock);
  bool wait_for(std::size_t operations, Deadline end, std::unique_lock<std::mutex>& lock);
  void serve_batch(std::unique_lock<std::mutex>& lock);
  void serve_query(std::unique_lock<std::mutex>& lock);
  void answer_without_turn(std::unique_lock<std::mutex>& lock, const Error& error,
                           Deadline turn_deadline);
  Batch take_batch();
  void note_health(const Error* failure);
  void note_look(const Error* failure);
  void note_health(std::span<const Step> batch);
  void deliver(Batch batch);
  void deliver(Ticket ticket, Answer answer);

  asio::io_context& loop_;
  std::unique_ptr<Store> store_;
  const std::chrono::milliseconds timeout_;

  // Event loop only.
  Waiting gathered_;  // since the last hand_over()
  bool hand_over_posted_ = false;
  std::size_t unanswered_ = 0;

  std::mutex mutex_;  // guards the next four
  std::condition_variable changed_;
  Waiting waiting_;
  std::size_t wanted_ = 1;  // operations that the storage thread waits for
  bool ending_ = false;

  // Storage thread only.
  std::size_t expected_ = 0;  // operations that may come together for the next batch
  std::chrono::steady_clock::time_point committed_;  // when the last batch was
  std::chrono::steady_clock::duration commit_time_{0};
  std::size_t skip_ = 0;     // batches that begin without waiting
  std::size_t skipped_ = 0;  // ... since they came in vain last time
  std::string failure_;      // of the store, as logged; empty: it answers
  Code failure_code_ = Code::kOk;

  std::thread thread_;
};

}  // namespace counterd
