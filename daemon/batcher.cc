#include "daemon/batcher.h"

#include <algorithm>
#include <asio/post.hpp>

#include "common/limits.h"
#include "common/log.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// What falling asleep and waking takes, about: to wait for less than that would be the longer wait.
constexpr std::chrono::microseconds kWorthSleeping{50};

// Appends all of `from` to `to`.
template <class Sequence>
void append(Sequence& to, Sequence&& from) {
  if (to.empty()) {
    to.swap(from);
  } else {
    to.insert(to.end(), std::move_iterator(from.begin()), std::move_iterator(from.end()));
    from.clear();
  }
}

// How many operations on counters wait behind a question.
std::size_t size_of(const Question& question) {
  const auto* operation = std::get_if<Operation>(&question);
  return operation == nullptr ? 1 : size_of(*operation);
}

// Whether there is nothing to wait for: no more would go into one batch.
bool fills_a_batch(const std::vector<Step>& steps) {
  std::size_t operations = 0;
  for (const Step& step : steps) {
    operations += size_of(step.operation);
    if (operations >= kMaxBatchOperations) return true;
  }
  return false;
}

// How many of the first steps are no more operations than a batch may have, and at least one.
std::size_t steps_that_fit(const std::vector<Step>& steps) {
  std::size_t operations = 0;
  std::size_t count = 0;
  for (const Step& step : steps) {
    operations += size_of(step.operation);
    if (count > 0 && operations > kMaxBatchOperations) break;
    ++count;
  }
  return count;
}

// The first `size` of `from`, taken out of it.
template <class Element>
std::vector<Element> take_front(std::vector<Element>& from, std::size_t size) {
  if (from.size() <= size) return std::exchange(from, {});
  const auto end = from.begin() + static_cast<std::ptrdiff_t>(size);
  std::vector<Element> front(std::move_iterator(from.begin()), std::move_iterator(end));
  from.erase(from.begin(), end);
  return front;
}

}  // namespace

Batcher::Batcher(asio::io_context& loop, std::unique_ptr<Store> store,
                 std::chrono::milliseconds timeout)
    : loop_(loop), store_(std::move(store)), timeout_(timeout), thread_([this] { run(); }) {}

Batcher::~Batcher() {
  hand_over();
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

bool Batcher::submit(Question question, std::shared_ptr<Waiter> waiter, std::uint64_t number) {
  const std::size_t size = size_of(question);
  if (unanswered_ + size > kMaxWaitingOperations) return false;
  unanswered_ += size;
  Ticket ticket{std::move(waiter), number, steady_clock::now() + timeout_};
  if (auto* operation = std::get_if<Operation>(&question)) {
    gathered_.batch.steps.emplace_back().operation = std::move(*operation);
    gathered_.batch.tickets.push_back(std::move(ticket));
  } else if (auto* query = std::get_if<ListQuery>(&question)) {
    gathered_.queries.push_back({std::move(*query), std::move(ticket)});
  } else {
    gathered_.queries.push_back({Probe{}, std::move(ticket)});
  }
  // When the event loop has done what is at hand, so that a batch begins with all that one round
  // of it has brought.
  if (!std::exchange(hand_over_posted_, true)) asio::post(loop_, [this] { hand_over(); });
  return true;
}

void Batcher::hand_over() {
  hand_over_posted_ = false;
  {
    const std::lock_guard lock(mutex_);
    append(waiting_.batch.steps, std::move(gathered_.batch.steps));
    append(waiting_.batch.tickets, std::move(gathered_.batch.tickets));
    append(waiting_.queries, std::move(gathered_.queries));
    if (!worth_waking()) return;
  }
  changed_.notify_one();
}

bool Batcher::worth_waking() const {
  return ending_ || !waiting_.queries.empty() || waiting_.batch.steps.size() >= wanted_;
}

void Batcher::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    gather(lock);
    // One of each in turn: neither waits for all of the other.
    if (!waiting_.batch.steps.empty()) serve_batch(lock);
    if (!waiting_.queries.empty()) serve_query(lock);
  }
}

// Clients that were just answered tend to come back at once. One batch of all of them and of those
// that wait already is one commit instead of two, so it is worth to wait for most of them, but for
// no longer than a commit takes; and not for a while, if they did not come. When most are there,
// the last ones are near.
void Batcher::gather(std::unique_lock<std::mutex>& lock) {
  const std::size_t all = std::min(std::exchange(expected_, 0), kMaxBatchOperations);
  const std::size_t most = all - all / 8;
  if (!waiting_.queries.empty() || fills_a_batch(waiting_.batch.steps)) return;
  if (waiting_.batch.steps.size() < most) {
    if (skip_ > 0) {
      --skip_;
      return;
    }
    const bool came = wait_for(most, committed_ + commit_time_ / 2, lock);
    skipped_ = came ? 0 : std::clamp<std::size_t>(2 * skipped_, 1, 64);
    skip_ = skipped_;
    if (!came) return;
  }
  const auto moment = commit_time_ / 16;
  if (waiting_.batch.steps.size() < all && moment >= kWorthSleeping) {
    wait_for(all, steady_clock::now() + moment, lock);
  }
}

// Whether there were so many operations by then, or something else to do.
// REQUIRES: the lock is held
bool Batcher::wait_for(std::size_t operations, Deadline end, std::unique_lock<std::mutex>& lock) {
  wanted_ = operations;
  const bool came = changed_.wait_until(lock, end, [this] { return worth_waking(); });
  wanted_ = 1;
  return came;
}

void Batcher::serve_query(std::unique_lock<std::mutex>& lock) {
  Query query = std::move(waiting_.queries.front());
  waiting_.queries.pop_front();
  lock.unlock();
  const Deadline deadline = steady_clock::now() + timeout_;
  if (const auto* list = std::get_if<ListQuery>(&query.question)) {
    Result<ListPage> page = store_->list(*list, deadline);
    note_look(page ? nullptr : &page.error());
    deliver(std::move(query.ticket), std::move(page));
  } else {
    const Result<void> answers = store_->probe(deadline);
    note_look(answers ? nullptr : &answers.error());
    deliver(std::move(query.ticket),
            answers ? Result<StoreStatus>(store_->status()) : Result<StoreStatus>(answers.error()));
  }
  lock.lock();
}

void Batcher::serve_batch(std::unique_lock<std::mutex>& lock) {
  const bool turn_needed = needs_turn(waiting_.batch.steps);
  const Deadline turn_deadline = waiting_.batch.tickets.front().deadline;
  if (turn_needed) {
    lock.unlock();
    const Result<void> turn = store_->take_turn(turn_deadline);
    lock.lock();
    if (!turn) {
      note_health(&turn.error());
      answer_without_turn(lock, turn.error(), turn_deadline);
      return;
    }
  }
  Batch batch = take_batch();
  lock.unlock();
  const Deadline start = steady_clock::now();
  store_->apply(batch.steps, start + timeout_);
  if (turn_needed) {
    store_->yield_turn();
    store_->settle(batch.steps);
  }
  committed_ = steady_clock::now();
  commit_time_ = committed_ - start;
  note_health(batch.steps);
  lock.lock();
  expected_ = turn_needed ? batch.steps.size() + waiting_.batch.steps.size() : 0;
  lock.unlock();
  deliver(std::move(batch));
  if (turn_needed) store_->tidy();
  lock.lock();
}

// Changes fail: those that have waited until their deadline, or all, if no waiting would help.
// Reports among them need no turn.
void Batcher::answer_without_turn(std::unique_lock<std::mutex>& lock, const Error& error,
                                  Deadline turn_deadline) {
  const Deadline now = steady_clock::now();
  Batch taken = take_batch();
  lock.unlock();
  Batch changes;
  Batch reports;
  Batch patient;
  for (std::size_t i = 0; i < taken.steps.size(); ++i) {
    const bool fails = now < turn_deadline || taken.tickets[i].deadline <= now;
    Batch& part = !changes_something(taken.steps[i].operation) ? reports
                  : fails                                      ? changes
                                                               : patient;
    part.steps.push_back(std::move(taken.steps[i]));
    part.tickets.push_back(std::move(taken.tickets[i]));
  }
  fail_batch(changes.steps, error);
  store_->apply(reports.steps, steady_clock::now() + timeout_);
  deliver(std::move(changes));
  deliver(std::move(reports));
  lock.lock();
  append(patient.steps, std::exchange(waiting_.batch.steps, {}));
  append(patient.tickets, std::exchange(waiting_.batch.tickets, {}));
  waiting_.batch = std::move(patient);
}

// The log tells when the store fails and when it answers again, once each.
void Batcher::note_health(const Error* failure) {
  const std::string now = failure == nullptr ? std::string() : failure->message;
  failure_code_ = failure == nullptr ? Code::kOk : failure->code;
  if (now == failure_) return;
  log_line(failure == nullptr ? "the store answers again" : now);
  failure_ = now;
}

// What only looks goes on while there is no room for changes, and says nothing about those.
void Batcher::note_look(const Error* failure) {
  if (failure != nullptr || failure_code_ != Code::kStoreFull) note_health(failure);
}

// A store that fails, fails the changes of a batch as a whole.
void Batcher::note_health(std::span<const Step> batch) {
  const auto change = std::find_if(batch.begin(), batch.end(), [](const Step& step) {
    return changes_something(step.operation);
  });
  const bool looks = change == batch.end();
  const Outcome& told = looks ? batch.front().outcome : change->outcome;
  const bool failed = told.code == Code::kUnavailable || told.code == Code::kUnknown ||
                      told.code == Code::kStoreFull;
  const Error failure{told.code, told.detail};
  looks ? note_look(failed ? &failure : nullptr) : note_health(failed ? &failure : nullptr);
}

// Some waiting operations; all of them, if there are not too many. REQUIRES: the lock is held
Batcher::Batch Batcher::take_batch() {
  const std::size_t size = steps_that_fit(waiting_.batch.steps);
  return {take_front(waiting_.batch.steps, size), take_front(waiting_.batch.tickets, size)};
}

void Batcher::deliver(Batch batch) {
  if (batch.steps.empty()) return;
  asio::post(loop_, [this, batch = std::move(batch)]() mutable {
    for (std::size_t i = 0; i < batch.steps.size(); ++i) {
      unanswered_ -= size_of(batch.steps[i].operation);
      batch.tickets[i].waiter->finish(batch.tickets[i].number, std::move(batch.steps[i]));
    }
  });
}

void Batcher::deliver(Ticket ticket, Answer answer) {
  asio::post(loop_, [this, ticket = std::move(ticket), answer = std::move(answer)]() mutable {
    --unanswered_;
    ticket.waiter->finish(ticket.number, std::move(answer));
  });
}

}  // namespace counterd
