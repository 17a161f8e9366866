#include "daemon/batcher.h"

#include <sched.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "common/limits.h"
#include "common/log.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// How long the event loop runs between two looks at what waits for the store. Some 1,000 requests:
// if too short, every batch would forever hold only what fits into it.
constexpr std::chrono::milliseconds kHandlingTime{5};

// How long what only reads waits for the turn of changes that are before it.
constexpr std::chrono::milliseconds kTurnPatience{50};

// Roughly what falling asleep and waking up takes: for a shorter wait, sleeping would take longer.
constexpr std::chrono::microseconds kWorthSleeping{50};

// How many operations on counters a question stands for.
std::size_t size_of(const Question& question) {
  const auto* operation = std::get_if<Operation>(&question);
  return operation == nullptr ? 1 : size_of(*operation);
}

// Whether it leaves no room in a batch for another like it.
bool is_large(std::size_t operations) {
  return operations > kMaxBatchOperations / 2;
}

// How many of the first steps fit into one batch by their number of operations; at least one.
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
    : loop_(loop), store_(std::move(store)), timeout_(timeout), alarm_(loop), stand_in_(loop) {}

void Batcher::run() {
  while (!std::exchange(stopped_, false)) {
    const bool came = handle_some();
    const Time now = steady_clock::now();
    const Deadline next = due(now);
    if (next <= now) {
      serve();
    } else if (!came) {
      wait_until(next);
    }
  }
}

void Batcher::close() {
  stand_in_.cover([this] { store_.reset(); });
}

// Runs handlers that are ready, but not without end, so that new questions do not hold up those
// that already wait. False: there were none.
bool Batcher::handle_some() {
  if (loop_.poll_one() == 0) return false;
  const Deadline end = steady_clock::now() + kHandlingTime;
  while (loop_.poll_one() > 0 && steady_clock::now() < end) continue;
  return true;
}

// Waits until a handler is ready, or until `deadline`.
void Batcher::wait_until(Deadline deadline) {
  if (deadline != Deadline::max()) {
    if (deadline - steady_clock::now() < kWorthSleeping) {
      sched_yield();
      return;
    }
    set_alarm(deadline);
  }
  loop_.run_one();
}

// Only if the time is another one: setting it cancels the wait before, whose handler then runs and
// would end each sleep at once.
void Batcher::set_alarm(Deadline deadline) {
  if (deadline == alarm_time_) return;
  alarm_time_ = deadline;
  alarm_.expires_at(deadline);
  alarm_.async_wait([this](const asio::error_code& cancelled) {
    if (!cancelled) alarm_time_ = Deadline::max();
  });
}

// A store whose disk, or the look-up of whose host, stands still returns no error that could be
// logged. So whoever asks for more meanwhile has it logged.
void Batcher::note_hang() {
  const std::optional<Time> since = stand_in_.away_since();
  if (!since) return;
  const Time now = steady_clock::now();
  if (now - *since < 2 * timeout_) return;
  const Error hangs{Code::kUnavailable,
                    "the store has not answered for twice --store-timeout: its disk, or the "
                    "look-up of its host's name, may stand still; what is asked waits for it"};
  log(health_.note_read(&hangs, now));
}

bool Batcher::submit(Question&& question, std::shared_ptr<Waiter> waiter, std::uint64_t number) {
  note_hang();
  const std::size_t size = size_of(question);
  const std::size_t most = is_large(size) ? kMaxWaitingInLargeGroups : kMaxWaitingOperations;
  if (unanswered_ + size > most) return false;
  unanswered_ += size;
  Ticket ticket{std::move(waiter), number, steady_clock::now() + timeout_};
  if (auto* operation = std::get_if<Operation>(&question)) {
    Batch& queue = is_large(size) ? large_ : waiting_;
    queue.steps.emplace_back().operation = std::move(*operation);
    queue.tickets.push_back(std::move(ticket));
  } else if (auto* query = std::get_if<ListQuery>(&question)) {
    lists_.push_back({std::move(*query), std::move(ticket)});
  } else {
    probes_.push_back(std::move(ticket));
  }
  return true;
}

// When to ask the store.
Deadline Batcher::due(Time now) {
  if (waiting_.steps.empty() && large_.steps.empty() && !has_queries()) return Deadline::max();
  if (is_full() || has_queries()) return {};
  return gathering_.end(waiting_.steps.size(), now);
}

bool Batcher::is_full() const {
  return unanswered_ >= kMaxBatchOperations;
}

// A full batch is complete, even if it consists of a few groups.
void Batcher::learn() {
  if (has_queries() || !large_.steps.empty()) {
    gathering_.learn_nothing();
  } else {
    gathering_.learn(is_full() ? kMaxBatchOperations : waiting_.steps.size());
  }
}

// From now on, expects so many steps to come; the last commit took `commit`.
void Batcher::expect(std::size_t steps, steady_clock::duration commit) {
  const std::size_t expected = std::min(steps, kMaxBatchOperations);
  waiting_.steps.reserve(expected);
  waiting_.tickets.reserve(expected);
  gathering_.begin(expected, commit, steady_clock::now());
}

// Serves one batch, one large group, the probes and one list in turn, so that no kind waits for all
// of another.
void Batcher::serve() {
  if (!waiting_.steps.empty()) serve_waiting();
  if (!large_.steps.empty()) serve_large();
  if (!probes_.empty()) serve_probes();
  // What others have asked and have no answer to yet, a list may have or lack.
  const auto next =
      std::ranges::find_if(lists_, [this](const List& list) { return !asks_more(list.ticket); });
  if (next != lists_.end()) {
    const List list = std::move(*next);
    lists_.erase(next);
    serve_list(list);
  }
  stand_in_.cover([this] { store_->tidy(); });
}

// All at once: those that nobody waits for any more then hold up nobody when the store hangs.
void Batcher::serve_probes() {
  const std::vector<Ticket> probes = std::exchange(probes_, {});
  const Deadline end = end_of(probes.front());
  const Result<void> answers = stand_in_.cover([&] { return store_->probe(end); });
  note_query(answers ? nullptr : &answers.error());
  Result<StoreStatus> status = answers ? Result(store_->status()) : answers.error();
  if (status) status->change_failure = health_.change_failure();
  for (const Ticket& probe : probes) deliver(probe, status);
}

// Whether waiting_ has operations of the same client, which come first.
bool Batcher::asks_more(const Ticket& ticket) const {
  const std::vector<Ticket>& tickets = waiting_.tickets;
  return std::ranges::find(tickets, ticket.waiter, &Ticket::waiter) != tickets.end();
}

void Batcher::serve_list(const List& list) {
  const Deadline end = end_of(list.ticket);
  Result<ListPage> page = stand_in_.cover([&] { return store_->list(list.query, end); });
  note_query(page ? nullptr : &page.error());
  deliver(list.ticket, std::move(page));
}

// Not a wrong configuration before the store has ever answered: the worker ends then, and tells its
// supervisor, which logs it, but not at each try.
void Batcher::note_query(const Error* failure) {
  has_answered_ = has_answered_ || failure == nullptr;
  const bool ends_worker = failure != nullptr && failure->code == Code::kConfig && !has_answered_;
  if (!ends_worker) log(health_.note_read(failure, steady_clock::now()));
}

// By when the store must have answered what is put to it now. What a store that stood still has
// held up already may not wait for as long once more: else many that wait would wait for one
// another.
Deadline Batcher::end_of(const Ticket& oldest) const {
  return std::min(steady_clock::now(), oldest.deadline) + timeout_;
}

void Batcher::serve_waiting() {
  learn();
  Batch batch = next_batch(waiting_);
  if (batch.steps.empty()) return;
  const std::size_t size = batch.steps.size();
  const bool changes = needs_turn(batch.steps);
  const steady_clock::duration took = apply(std::move(batch));
  expect(changes ? size + waiting_.steps.size() : 0, took);
}

void Batcher::serve_large() {
  if (asks_more(large_.tickets.front())) return;
  Batch batch = next_batch(large_);
  if (!batch.steps.empty()) apply(std::move(batch));
}

// What the store can apply next, taken out of `queue`, with the turn if that is needed; empty: the
// turn was not obtained.
Batcher::Batch Batcher::next_batch(Batch& queue) {
  const std::span<const Step> steps = queue.steps;
  const bool turn_needed = needs_turn(steps.first(steps_that_fit(queue.steps)));
  if (turn_needed && !take_turn(queue)) return {};
  return take_batch(queue);
}

// Has the store apply the batch, and delivers the answers. How long the store took.
// REQUIRES: the turn is held, if the batch needs it; it is given back
steady_clock::duration Batcher::apply(Batch batch) {
  const Time start = steady_clock::now();
  const Deadline end = end_of(batch.tickets.front());
  stand_in_.cover([&] {
    if (needs_turn(batch.steps)) {
      apply_in_turn(*store_, batch.steps, end);
    } else {
      store_->apply(batch.steps, end);
    }
  });
  const Time applied = steady_clock::now();
  log(health_.note_batch(batch.steps, applied));
  deliver(std::move(batch));
  return applied - start;
}

// Waits for the turn, but not for long at once: what only reads goes on meanwhile. False: it was
// not obtained, and what need not wait for it, or cannot wait any longer, is answered.
bool Batcher::take_turn(Batch& queue) {
  const Deadline until =
      std::min(steady_clock::now() + kTurnPatience, queue.tickets.front().deadline);
  const Deadline recovered = steady_clock::now() + timeout_;
  Result<void> turn = stand_in_.cover([&] { return store_->take_turn(until, recovered); });
  // What was held up for longer, as by a disk that stood still, may be a copy whose key is
  // forgotten by now.
  if (turn && steady_clock::now() > queue.tickets.front().deadline + timeout_) {
    store_->yield_turn();
    turn = Error{Code::kOverloaded, "the store has kept the change waiting for too long"};
  }
  if (!turn) answer_without_turn(queue, turn.error());
  return turn.ok();
}

// Fails the changes that have waited until their deadline, or all of them if waiting would not
// help. Applies the reports among them, which need no turn; but one that was asked for after a
// change, by the same client, must see it, also if that is in the other queue.
void Batcher::answer_without_turn(Batch& queue, const Error& error) {
  const bool helps_to_wait = error.code == Code::kOverloaded;
  const Time now = steady_clock::now();
  Batch taken = std::exchange(queue, {});
  Batch failing;
  Batch reports;
  Batch staying;
  std::unordered_set<const Waiter*> clients_that_wait;
  for (std::size_t i = 0; i < taken.steps.size(); ++i) {
    const Waiter* const client = taken.tickets[i].waiter.get();
    const bool changes = changes_something(taken.steps[i].operation);
    const bool fails = changes && (!helps_to_wait || taken.tickets[i].deadline <= now);
    const bool stays =
        !fails && (changes || clients_that_wait.contains(client) || asks_more(taken.tickets[i]));
    if (stays) clients_that_wait.insert(client);
    Batch& part = fails ? failing : stays ? staying : reports;
    part.steps.push_back(std::move(taken.steps[i]));
    part.tickets.push_back(std::move(taken.tickets[i]));
  }
  queue = std::move(staying);
  if (!failing.steps.empty()) log(health_.note_change(&error, now));
  fail_batch(failing.steps, error);
  deliver(std::move(failing));
  while (!reports.steps.empty()) apply(take_batch(reports));
}

// Takes out what a batch can hold: all of it, unless it is too much.
Batcher::Batch Batcher::take_batch(Batch& from) {
  const std::size_t size = steps_that_fit(from.steps);
  return {take_front(from.steps, size), take_front(from.tickets, size)};
}

void Batcher::log(const std::optional<std::string>& message) {
  if (message) log_warning(*message);
}

void Batcher::deliver(Batch batch) {
  for (std::size_t i = 0; i < batch.steps.size(); ++i) {
    unanswered_ -= size_of(batch.steps[i].operation);
    batch.tickets[i].waiter->finish(batch.tickets[i].number, std::move(batch.steps[i]));
  }
}

void Batcher::deliver(const Ticket& ticket, Answer answer) {
  --unanswered_;
  ticket.waiter->finish(ticket.number, std::move(answer));
}

}  // namespace counterd
