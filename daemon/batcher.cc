#include "daemon/batcher.h"

#include <asio/post.hpp>

#include "common/limits.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

bool is_change(const auto& question) {
  const auto* step = std::get_if<Step>(&question);
  return step != nullptr && changes_something(step->operation);
}

}  // namespace

Batcher::Batcher(asio::io_context& loop, std::unique_ptr<Store> store,
                 std::chrono::milliseconds timeout)
    : loop_(loop), store_(std::move(store)), timeout_(timeout), thread_([this] { run(); }) {}

Batcher::~Batcher() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

bool Batcher::submit(Question question, std::shared_ptr<Waiter> waiter, std::uint64_t number) {
  Entry entry{{}, std::move(waiter), number, steady_clock::now() + timeout_};
  if (auto* operation = std::get_if<Operation>(&question)) {
    entry.question.emplace<Step>().operation = std::move(*operation);
  } else if (auto* query = std::get_if<ListQuery>(&question)) {
    entry.question = std::move(*query);
  } else {
    entry.question = Probe{};
  }
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxWaitingOperations) return false;
    if (is_change(entry.question)) ++changes_waiting_;
    waiting_.push_back(std::move(entry));
  }
  wake();
  return true;
}

// Wakes the storage thread when the event loop has done what is at hand, so that a batch begins
// with all that one round of it has brought.
void Batcher::wake() {
  if (std::exchange(wake_posted_, true)) return;
  asio::post(loop_, [this] {
    wake_posted_ = false;
    changed_.notify_one();
  });
}

void Batcher::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    if (std::holds_alternative<Step>(waiting_.front().question)) {
      serve_batch(lock);
    } else {
      serve_front(lock);
    }
  }
}

// A list or a probe, which stands alone.
void Batcher::serve_front(std::unique_lock<std::mutex>& lock) {
  Entry entry = std::move(waiting_.front());
  waiting_.pop_front();
  lock.unlock();
  const Deadline deadline = steady_clock::now() + timeout_;
  Ticket ticket{std::move(entry.waiter), entry.number};
  if (const auto* query = std::get_if<ListQuery>(&entry.question)) {
    deliver(std::move(ticket), store_->list(*query, deadline));
  } else if (const Result<void> answers = store_->probe(deadline); !answers) {
    deliver(std::move(ticket), Result<StoreStatus>(answers.error()));
  } else {
    deliver(std::move(ticket), Result<StoreStatus>(store_->status()));
  }
  lock.lock();
}

void Batcher::serve_batch(std::unique_lock<std::mutex>& lock) {
  const bool turn_needed = changes_waiting_ > 0;
  const Deadline turn_deadline = waiting_.front().deadline;
  if (turn_needed) {
    lock.unlock();
    const Result<void> turn = store_->take_turn(turn_deadline);
    lock.lock();
    if (!turn) {
      answer_without_turn(lock, turn.error(), turn_deadline);
      return;
    }
  }
  Batch batch = take_batch(Deadline::max());
  lock.unlock();
  store_->apply(batch.steps, steady_clock::now() + timeout_);
  deliver(std::move(batch));
  if (turn_needed) store_->yield_turn();
  lock.lock();
}

// Changes fail: those that have waited until their deadline, or all, if no waiting would help.
// Reports among them need no turn.
void Batcher::answer_without_turn(std::unique_lock<std::mutex>& lock, const Error& error,
                                  Deadline turn_deadline) {
  const Deadline now = steady_clock::now();
  Batch batch = take_batch(now < turn_deadline ? Deadline::max() : now);
  lock.unlock();
  Batch changes;
  Batch reports;
  for (std::size_t i = 0; i < batch.steps.size(); ++i) {
    Batch& part = changes_something(batch.steps[i].operation) ? changes : reports;
    part.steps.push_back(std::move(batch.steps[i]));
    part.tickets.push_back(std::move(batch.tickets[i]));
  }
  fail_batch(changes.steps, error);
  store_->apply(reports.steps, steady_clock::now() + timeout_);
  deliver(std::move(changes));
  deliver(std::move(reports));
  lock.lock();
}

// The operations whose deadline is not after `latest`, up to the first other question.
// REQUIRES: the lock is held
Batcher::Batch Batcher::take_batch(Deadline latest) {
  Batch batch;
  while (!waiting_.empty() && batch.steps.size() < kMaxBatchOperations) {
    Entry& entry = waiting_.front();
    auto* step = std::get_if<Step>(&entry.question);
    if (step == nullptr || entry.deadline > latest) break;
    if (changes_something(step->operation)) --changes_waiting_;
    batch.steps.push_back(std::move(*step));
    batch.tickets.push_back({std::move(entry.waiter), entry.number});
    waiting_.pop_front();
  }
  return batch;
}

void Batcher::deliver(Batch batch) {
  if (batch.steps.empty()) return;
  asio::post(loop_, [batch = std::move(batch)]() mutable {
    for (std::size_t i = 0; i < batch.steps.size(); ++i) {
      batch.tickets[i].waiter->finish(batch.tickets[i].number, std::move(batch.steps[i]));
    }
  });
}

void Batcher::deliver(Ticket ticket, Answer answer) {
  asio::post(loop_, [ticket = std::move(ticket), answer = std::move(answer)]() mutable {
    ticket.waiter->finish(ticket.number, std::move(answer));
  });
}

}  // namespace counterd
