// Between the event loop and the store: gathers what connections ask, and asks the store for all
// of it at once.
//
// The store belongs to one storage thread. Whenever that thread is free it waits for the store's
// turn, if there is a change to make, *then* takes what has gathered, in its order, and applies
// it: a worker that waits for its turn goes on gathering. Answers reach their waiters on the event
// loop only when the store has returned.
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

  // Asks the store; the answer goes to waiter->finish(number, …). False: kMaxWaitingOperations
  // wait already, and nothing was taken. Called on the event loop.
  bool submit(Question question, std::shared_ptr<Waiter> waiter, std::uint64_t number);

 private:
  struct Entry {
    std::variant<Step, ListQuery, Probe> question;
    std::shared_ptr<Waiter> waiter;
    std::uint64_t number = 0;
    Deadline deadline;  // for the store's turn
  };
  struct Ticket {
    std::shared_ptr<Waiter> waiter;
    std::uint64_t number = 0;
  };
  struct Batch {
    std::vector<Step> steps;
    std::vector<Ticket> tickets;  // one for each step
  };

  void run();
  void serve_front(std::unique_lock<std::mutex>& lock);
  void serve_batch(std::unique_lock<std::mutex>& lock);
  void answer_without_turn(std::unique_lock<std::mutex>& lock, const Error& error,
                           Deadline turn_deadline);
  Batch take_batch(Deadline latest);
  void deliver(Batch batch);
  void deliver(Ticket ticket, Answer answer);
  void wake();

  asio::io_context& loop_;
  std::unique_ptr<Store> store_;
  const std::chrono::milliseconds timeout_;

  std::mutex mutex_;  // guards the next four
  std::condition_variable changed_;
  std::deque<Entry> waiting_;
  std::size_t changes_waiting_ = 0;  // of them, operations that change something
  bool ending_ = false;

  bool wake_posted_ = false;  // event loop only
  std::thread thread_;
};

}  // namespace counterd
