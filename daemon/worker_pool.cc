#include "daemon/worker_pool.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <span>

#include "common/log.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{10'000};
constexpr milliseconds kLongestPauseWithoutService{1'000};

// How soon the log says again that a worker cannot start, if nothing about it has changed.
constexpr std::chrono::minutes kLogPause{1};

// How long a slot that gets no new connections still takes those that come: the end of a handshake
// that has begun comes up to a round trip later, and would be answered by a reset if its sockets
// were gone.
constexpr milliseconds kHandshakePatience{1'000};

// What has been said by `lifeline` and not been read: all of it, or the next byte would be taken
// for a word.
std::string read_rest(const UniqueFd& lifeline) {
  std::string rest;
  std::array<char, 4096> part{};
  for (;;) {
    const ssize_t size = recv(lifeline.get(), part.data(), part.size(), 0);
    if (size <= 0) return rest;
    rest.append(part.data(), static_cast<std::size_t>(size));
  }
}

std::string how_it_ended(int status) {
  return WIFSIGNALED(status) ? " was killed by signal " + std::to_string(WTERMSIG(status))
                             : " ended with status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

std::string WorkerPool::Worker::name() const {
  return "worker " + std::to_string(slot) + " (pid " + std::to_string(process.pid) + ")";
}

WorkerPool::WorkerPool(Listeners listeners, WorkerProgram program, int wanted,
                       milliseconds drain_timeout)
    : listeners_(std::move(listeners)),
      program_(std::move(program)),
      wanted_(static_cast<std::size_t>(wanted)),
      drain_timeout_(drain_timeout),
      slots_(1) {
  route();
}

void WorkerPool::add_to(std::vector<pollfd>& polled) const {
  for (const Slot& slot : slots_) {
    const WorkerState state = slot.worker.state;
    const bool has_word = state == WorkerState::kStarting || state == WorkerState::kReady;
    if (has_word) polled.push_back({slot.worker.process.lifeline.get(), POLLIN, 0});
  }
}

Time WorkerPool::next_deadline() const {
  Time next = Time::max();
  for (const Worker& worker : leaving_) next = std::min(next, worker.kill_at);
  for (const Slot& slot : slots_) {
    next = std::min(next, slot.worker.kill_at);
    const WorkerState state = slot.worker.state;
    if (draining_ || state == WorkerState::kDraining) continue;
    if (slot.retires_at) {
      // No event says that those behind it have gone, or that nobody waits there: look again.
      const Time again = steady_clock::now() + kFirstPause;
      next = std::min(next, state == WorkerState::kReady ? *slot.retires_at : again);
    } else if (state == WorkerState::kWaiting) {
      next = std::min(next, slot.start_at);
    }
  }
  return next;
}

void WorkerPool::start_due() {
  if (draining_) return;
  for (Slot& slot : slots_) {
    const bool idle = slot.worker.state == WorkerState::kWaiting;
    const bool needed = !slot.retires_at || listeners_.has_queued(slot.worker.slot);
    if (idle && needed && slot.start_at <= steady_clock::now()) start(slot);
  }
}

void WorkerPool::start(Slot& slot) {
  Result<WorkerProcess> process =
      start_worker(program_.binary, one_was_ready_ ? program_.setup : program_.first_setup,
                   slot.worker.slot, listeners_.sockets_of(slot.worker.slot));
  if (!process) {
    back_off(slot);
    return log_failed_start(slot, ": " + process.error().message);
  }
  slot.worker.process = std::move(*process);
  enter(slot.worker, WorkerState::kStarting);
}

void WorkerPool::take_words() {
  for (Slot& slot : slots_) {
    if (slot.worker.process.lifeline) take_word_of(slot);
  }
}

void WorkerPool::take_word_of(Slot& slot) {
  Worker& worker = slot.worker;
  char word = 0;
  const ssize_t size = recv(worker.process.lifeline.get(), &word, 1, 0);
  if (size == 0) worker.process.lifeline.reset();  // it has ended, and SIGCHLD tells how
  if (size != 1) return;
  if (word == kFailedWord) worker.failure = read_rest(worker.process.lifeline);
  if (word == kReadyWord && worker.state == WorkerState::kStarting) become_ready(slot);
  if (word == kLeavingWord && worker.state != WorkerState::kDraining) let_go(slot);
}

void WorkerPool::become_ready(Slot& slot) {
  enter(slot.worker, WorkerState::kReady);
  slot.pause = milliseconds(0);
  slot.is_new = false;
  slot.logged.clear();
  route();
  one_was_ready_ = true;
}

std::string WorkerPool::Slot::replacement() const {
  return retires_at ? "" : "; it is replaced";
}

// The worker was told to end, by somebody else.
void WorkerPool::let_go(Slot& slot) {
  Worker& leaving = leaving_.emplace_back(vacate(slot));
  leaving.kill_at = end_of_patience();
  enter(leaving, WorkerState::kLeaving);
  log_line(leaving.name() + " was told to end" + slot.replacement());
}

// The worker that the slot had; the slot is free for another one, at once.
WorkerPool::Worker WorkerPool::vacate(Slot& slot) {
  slot.start_at = steady_clock::now();
  return std::exchange(slot.worker, Worker{slot.worker.slot});
}

std::optional<int> WorkerPool::reap() {
  std::optional<int> fatal;
  int status = 0;
  for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
    take_words();  // its last ones
    std::erase_if(leaving_, [pid](const Worker& worker) { return worker.process.pid == pid; });
    for (Slot& slot : slots_) {
      if (slot.worker.process.pid != pid) continue;
      if (const std::optional<int> end = take_end_of(slot, status)) fatal = end;
    }
  }
  return fatal;
}

std::optional<int> WorkerPool::take_end_of(Slot& slot, int status) {
  const Worker ended = vacate(slot);
  const std::string name = ended.name();
  if (ended.state == WorkerState::kDraining) return std::nullopt;
  const bool is_config =
      WIFEXITED(status) && WEXITSTATUS(status) == code_info(Code::kConfig).exit_status;
  if (is_config && !(was_ready_ && serves(slots_.size()))) {
    if (!ended.failure.empty()) log_warning(ended.failure);
    if (was_ready_) log_warning(name + " ended with 78: only a change of settings or files helps");
    return WEXITSTATUS(status);
  }
  if (ended.state == WorkerState::kStarting) {
    back_off(slot);
    log_failed_start(slot, how_it_ended(status) + " while it started" +
                               (ended.failure.empty() ? "" : ": " + ended.failure));
  } else {
    log_warning(name + how_it_ended(status) + slot.replacement());
  }
  return std::nullopt;
}

// After a start that has failed.
void WorkerPool::back_off(Slot& slot) {
  const milliseconds longest = serves(slots_.size()) ? kLongestPause : kLongestPauseWithoutService;
  slot.pause = slot.pause.count() == 0 ? kFirstPause : std::min(2 * slot.pause, longest);
  slot.start_at = steady_clock::now() + slot.pause;
  route();
}

// The same again only after a while, for it may be tried every second for days. So the line has no
// process id, which differs each time. REQUIRES: back_off() was called
void WorkerPool::log_failed_start(Slot& slot, const std::string& how) {
  const std::string next =
      slot.retires_at ? "" : "; next try in " + std::to_string(slot.pause.count()) + " ms";
  const std::string line = "worker " + std::to_string(slot.worker.slot) + how + next;
  const Time now = steady_clock::now();
  if (line == slot.logged && now < slot.log_again_at) return;
  slot.logged = line;
  slot.log_again_at = now + kLogPause;
  log_warning(line);
}

// Slots whose worker fails to start, or that are new, get no connections, which would wait there
// while others serve; unless all slots are so. Not so one whose worker has died: it is soon there
// again, and the clients that come back would all stay with the others.
void WorkerPool::route() {
  std::vector<std::size_t> staying;
  std::vector<std::size_t> working;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].retires_at) continue;
    staying.push_back(i);
    if (!slots_[i].is_new && slots_[i].pause.count() == 0) working.push_back(i);
  }
  listeners_.route_to(working.empty() ? staying : working);
}

// Adds slots at the end and removes them there, so that a slot's number is its place among the
// sockets of an address; adds none while another is being removed.
Result<void> WorkerPool::adjust() {
  if (draining_) return {};
  drain_retired_workers();
  remove_retired_slots();
  const std::size_t wanted = one_was_ready_ ? wanted_ : 1;
  // One that stays must serve first: those that go may be the only ones that can.
  const bool one_serves = serves(wanted);
  if (slots_.size() > wanted && !slots_[wanted].retires_at && one_serves) retire_slots_from(wanted);
  if (slots_.size() >= wanted || slots_.back().retires_at) return {};
  return add_slots_up_to(wanted);
}

// Also one that is not ready yet, for its store may be away for long; but not before it has
// accepted those who wait for it.
void WorkerPool::drain_retired_workers() {
  for (Slot& slot : slots_) {
    if (!slot.retires_at || steady_clock::now() < *slot.retires_at) continue;
    const WorkerState state = slot.worker.state;
    const bool starts = state == WorkerState::kStarting;
    if (state == WorkerState::kReady || (starts && !listeners_.has_queued(slot.worker.slot))) {
      drain(slot.worker);
    }
  }
}

void WorkerPool::remove_retired_slots() {
  while (slots_.back().retires_at && *slots_.back().retires_at <= steady_clock::now() &&
         slots_.back().worker.state == WorkerState::kWaiting &&
         !listeners_.has_queued(slots_.size() - 1)) {
    slots_.pop_back();
    listeners_.remove_slot();
  }
}

void WorkerPool::retire_slots_from(std::size_t first) {
  for (std::size_t i = first; i < slots_.size(); ++i) {
    slots_[i].retires_at = steady_clock::now() + kHandshakePatience;
  }
  route();
}

// If not all can be added, none is.
Result<void> WorkerPool::add_slots_up_to(std::size_t wanted) {
  const std::size_t before = slots_.size();
  while (slots_.size() < wanted) {
    if (const Result<void> added = listeners_.add_slot(); !added) {
      for (; slots_.size() > before; slots_.pop_back()) listeners_.remove_slot();
      wanted_ = before;
      return Error{added.error().code, "no sockets for " + std::to_string(wanted) +
                                           " workers, so there are still " +
                                           std::to_string(before) + ": " + added.error().message};
    }
    const std::size_t number = slots_.size();
    Slot& slot = slots_.emplace_back();
    slot.worker.slot = number;
    slot.is_new = was_ready_;  // until then, those that wait are shared out among all
  }
  route();
  start_due();
  return {};
}

Result<void> WorkerPool::resize(int wanted) {
  wanted_ = static_cast<std::size_t>(wanted);
  return adjust();
}

bool WorkerPool::note_ready() {
  if (was_ready_ || draining_ || !all_ready()) return false;
  was_ready_ = true;
  return true;
}

void WorkerPool::drain() {
  draining_ = true;
  listeners_.close();
  for (Slot& slot : slots_) {
    if (slot.worker.process.pid > 0) drain(slot.worker);
  }
}

void WorkerPool::drain(Worker& worker) {
  if (worker.state != WorkerState::kDraining) enter(worker, WorkerState::kDraining);
  worker.kill_at = std::min(worker.kill_at, end_of_patience());
  kill(worker.process.pid, SIGTERM);
}

// With a worker that is told to end now.
Time WorkerPool::end_of_patience() const {
  return steady_clock::now() + drain_timeout_ + kKillPatience;
}

void WorkerPool::kill_all() {
  for (Slot& slot : slots_) slot.worker.kill_at = steady_clock::now();
  for (Worker& worker : leaving_) worker.kill_at = steady_clock::now();
}

void WorkerPool::kill_overdue() {
  const auto kill_if_due = [now = steady_clock::now()](Worker& worker) {
    if (now < worker.kill_at) return;
    worker.kill_at = Time::max();
    if (worker.process.pid <= 0) return;
    log_warning(worker.name() + " has not ended in time: killed");
    kill(worker.process.pid, SIGKILL);
  };
  for (Slot& slot : slots_) kill_if_due(slot.worker);
  for (Worker& worker : leaving_) kill_if_due(worker);
}

// Whether one of the first `count` slots does.
bool WorkerPool::serves(std::size_t count) const {
  return std::ranges::any_of(
      std::span(slots_).first(std::min(count, slots_.size())),
      [](const Slot& slot) { return slot.worker.state == WorkerState::kReady; });
}

int WorkerPool::serving() const {
  return static_cast<int>(std::ranges::count_if(slots_, [](const Slot& slot) {
    return slot.worker.state == WorkerState::kReady && !slot.retires_at;
  }));
}

bool WorkerPool::has_ended() const {
  return draining_ && leaving_.empty() &&
         std::ranges::all_of(slots_, [](const Slot& slot) { return slot.worker.process.pid == 0; });
}

std::vector<WorkerInfo> WorkerPool::workers() const {
  std::vector<WorkerInfo> workers;
  const auto add = [&workers](const Worker& worker) {
    workers.push_back(
        {worker.process.pid, static_cast<int>(worker.slot), worker.state, worker.since_ms});
  };
  for (const Slot& slot : slots_) add(slot.worker);
  for (const Worker& worker : leaving_) add(worker);
  return workers;
}

void WorkerPool::enter(Worker& worker, WorkerState state) {
  worker.state = state;
  worker.since_ms = unix_now_ms();
}

}  // namespace counterd
