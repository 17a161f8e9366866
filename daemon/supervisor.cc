#include "daemon/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "common/log.h"
#include "common/number.h"
#include "common/version.h"
#include "daemon/notify.h"
#include "daemon/worker_setup.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{10'000};

// How long beyond its own drain timeout a worker may take before it is killed.
constexpr milliseconds kKillPatience{2'000};

Result<UniqueFd> take_over_signals() {
  // A caller may have left it ignored; then the end of a child would not be reported.
  std::signal(SIGCHLD, SIG_DFL);
  sigset_t ours;
  sigemptyset(&ours);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&ours, number);
  sigprocmask(SIG_BLOCK, &ours, nullptr);
  UniqueFd signals(signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return system_error(Code::kIo, "cannot wait for signals", errno);
  return signals;
}

// Each worker takes one, and one for each TCP address.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// The caller's descriptor `fd`, which no worker inherits; none for -1.
Result<UniqueFd> take_over_descriptor(int fd) {
  if (fd < 0) return UniqueFd();
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return Error{Code::kConfig, "--ready-fd: descriptor " + std::to_string(fd) +
                                    " is not open; open it for the daemon, as in: counterd "
                                    "--ready-fd " +
                                    std::to_string(fd) + " " + std::to_string(fd) + ">FIFO"};
  }
  return UniqueFd(fd);
}

std::string text_of(const std::vector<Endpoint>& endpoints) {
  std::string text;
  for (const Endpoint& endpoint : endpoints) text += (text.empty() ? "" : ", ") + to_url(endpoint);
  return text;
}

}  // namespace

Result<Supervisor> Supervisor::open(DaemonOptions options) {
  Supervisor supervisor(std::move(options));
  if (const Result<void> set_up = supervisor.set_up(); !set_up) return set_up.error();
  return supervisor;
}

Result<void> Supervisor::set_up() {
  raise_descriptor_limit();
  Result<UniqueFd> ready = take_over_descriptor(options_.ready_fd);
  if (!ready) return ready.error();
  ready_ = std::move(*ready);
  Result<UniqueFd> signals = take_over_signals();
  if (!signals) return signals.error();
  signals_ = std::move(*signals);
  binary_ = UniqueFd(::open("/proc/self/exe", O_PATH | O_CLOEXEC));  // may be executable only
  if (!binary_) return system_error(Code::kIo, "cannot open /proc/self/exe", errno);
  if (const Result<void> listening = open_listeners(); !listening) return listening.error();
  Result<ControlServer> control = ControlServer::open(listeners_.endpoints());
  if (!control) return control.error();
  control_ = std::move(*control);
  wanted_ = static_cast<std::size_t>(options_.workers);
  if (const Result<void> written = write_worker_setup(); !written) return written.error();
  // It must remain possible to remove the caller's folder and to unmount its disk.
  if (chdir("/") != 0) return system_error(Code::kIo, "cannot change to the folder /", errno);
  return {};
}

Result<void> Supervisor::open_listeners() {
  Result<Listeners> listeners = Listeners::from_systemd();
  if (listeners && listeners->endpoints().empty()) listeners = Listeners::open(options_.listen);
  if (!listeners) return listeners.error();
  listeners_ = std::move(*listeners);
  const std::vector<int> sockets = listeners_.sockets_of(0);
  if (std::find(sockets.begin(), sockets.end(), options_.ready_fd) == sockets.end()) return {};
  return Error{Code::kConfig, "--ready-fd: descriptor " + std::to_string(options_.ready_fd) +
                                  " is a socket from systemd; name another one"};
}

Result<void> Supervisor::write_worker_setup() {
  WorkerSetup setup;
  setup.store = options_.store;
  setup.store.create = !was_ready_;  // then a missing one has been lost
  setup.store.empty_wal = true;
  setup.api = {sender_rules(options_.allowed_hosts, options_.listen, listeners_.endpoints()),
               options_.allow_get_writes};
  setup.max_connections = static_cast<std::size_t>(options_.max_connections);
  setup.drain_timeout = options_.drain_timeout;
  Result<UniqueFd> file = write_setup(setup);
  if (!file) return file.error();
  setup_ = std::move(*file);
  return {};
}

int Supervisor::run() {
  slots_.emplace_back();
  route();
  notify_systemd("STATUS=starting: a worker is ready when the store has answered it");
  if (watchdog_time()) next_watchdog_ = Clock::now();
  while (!ended_) {
    start_due_workers();
    wait();
  }
  if (was_ready_) log_line("the daemon ended with status " + std::to_string(exit_status_));
  return exit_status_;
}

void Supervisor::wait() {
  std::vector<pollfd> polled = {{signals_.get(), POLLIN, 0}};
  control_.add_to(polled);
  for (const Slot& slot : slots_) {
    const bool has_word = slot.state == WorkerState::kStarting || slot.state == WorkerState::kReady;
    if (has_word) polled.push_back({slot.process.lifeline.get(), POLLIN, 0});
  }
  poll(polled.data(), polled.size(), milliseconds_to_wait());
  take_words_of_workers();
  control_.serve(polled, [this](const ControlRequest& request) { return answer(request); });
  control_.expire();
  if ((polled.front().revents & POLLIN) != 0) take_signals();
  kill_overdue();
  tell_watchdog();
  if (!stopping_) {
    if (const Result<void> adjusted = adjust_slots(); !adjusted) log_line(adjusted.error().message);
    if (!was_ready_ && all_ready()) say_ready();
  }
  end_when_empty();
}

int Supervisor::milliseconds_to_wait() const {
  auto next = std::min(control_.next_deadline(), next_watchdog_);
  for (const Leaving& worker : leaving_) next = std::min(next, worker.kill_at);
  for (const Slot& slot : slots_) {
    next = std::min(next, slot.kill_at);
    if (slot.state != WorkerState::kWaiting || stopping_) continue;
    // One that retires goes away once all behind it are gone, which wakes nobody.
    next = std::min(next, slot.retiring ? Clock::now() + kFirstPause : slot.start_at);
  }
  if (next == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

void Supervisor::tell_watchdog() {
  if (Clock::now() < next_watchdog_) return;
  notify_systemd("WATCHDOG=1");
  next_watchdog_ = Clock::now() + *watchdog_time() / 2;
}

void Supervisor::take_signals() {
  signalfd_siginfo signal{};
  while (read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGCHLD) {
      reap();
    } else if (signal.ssi_signo == SIGHUP) {
      log_line("SIGHUP is ignored: restart the daemon to change its settings");
    } else if (stopping_) {
      kill_all();
    } else {
      log_line("got SIG" + std::string(sigabbrev_np(static_cast<int>(signal.ssi_signo))) +
               ": the daemon ends");
      stop();
    }
  }
}

void Supervisor::reap() {
  int status = 0;
  for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
    std::erase_if(leaving_, [pid](const Leaving& worker) { return worker.process.pid == pid; });
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].process.pid == pid) take_end_of_worker(i, status);
    }
  }
}

void Supervisor::take_end_of_worker(std::size_t index, int status) {
  Slot& slot = slots_[index];
  const std::string name =
      "worker " + std::to_string(index) + " (pid " + std::to_string(slot.process.pid) + ")";
  const WorkerState state = slot.state;
  slot.process = {};
  slot.kill_at = Clock::time_point::max();
  enter(slot, WorkerState::kWaiting);
  slot.start_at = Clock::now();
  if (state == WorkerState::kDraining) return;
  const bool is_config =
      WIFEXITED(status) && WEXITSTATUS(status) == code_info(Code::kConfig).exit_status;
  if (is_config && !(was_ready_ && serves(slots_.size()))) {
    exit_status_ = WEXITSTATUS(status);
    // While the daemon is starting, the worker itself has said everything.
    if (was_ready_) log_line(name + " ended with 78: only a change of settings or files helps");
    if (!stopping_) stop();
    return;
  }
  if (state == WorkerState::kStarting) back_off(slot);
  if (stopping_) return;
  log_line(name +
           (WIFSIGNALED(status) ? " was killed by signal " + std::to_string(WTERMSIG(status))
                                : " ended with status " + std::to_string(WEXITSTATUS(status))) +
           (state == WorkerState::kStarting
                ? " while it started; next try in " + std::to_string(slot.pause.count()) + " ms"
                : "; it is replaced"));
}

// After a start that has failed.
void Supervisor::back_off(Slot& slot) {
  slot.pause = slot.pause.count() == 0 ? kFirstPause : std::min(2 * slot.pause, kLongestPause);
  slot.start_at = Clock::now() + slot.pause;
  route();
}

void Supervisor::take_words_of_workers() {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].process.lifeline) take_word_of_worker(i);
  }
}

void Supervisor::take_word_of_worker(std::size_t index) {
  Slot& slot = slots_[index];
  char word = 0;
  const ssize_t size = recv(slot.process.lifeline.get(), &word, 1, 0);
  if (size == 0) slot.process.lifeline.reset();  // it has ended, and SIGCHLD tells how
  if (size != 1) return;
  if (word == kReadyWord && slot.state == WorkerState::kStarting) become_ready(slot);
  if (word == kLeavingWord && !stopping_ && slot.state != WorkerState::kDraining) let_go(index);
}

void Supervisor::become_ready(Slot& slot) {
  enter(slot, WorkerState::kReady);
  slot.pause = milliseconds(0);
  route();
  first_ready_ = true;
  if (slot.retiring || stopping_) drain(slot);
}

// The worker was told to end, by somebody else.
void Supervisor::let_go(std::size_t index) {
  Slot& slot = slots_[index];
  log_line("worker " + std::to_string(index) + " (pid " + std::to_string(slot.process.pid) +
           ") was told to end; it is replaced");
  leaving_.push_back({std::exchange(slot.process, {}), index, unix_now_ms(), end_of_patience()});
  enter(slot, WorkerState::kWaiting);
  slot.start_at = Clock::now();
}

// Whether one of the first `count` slots does.
bool Supervisor::serves(std::size_t count) const {
  return std::any_of(slots_.begin(),
                     slots_.begin() + static_cast<std::ptrdiff_t>(std::min(count, slots_.size())),
                     [](const Slot& slot) { return slot.state == WorkerState::kReady; });
}

bool Supervisor::all_ready() const {
  const auto ready = std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return slot.state == WorkerState::kReady && !slot.retiring;
  });
  return static_cast<std::size_t>(ready) >= wanted_;
}

void Supervisor::say_ready() {
  was_ready_ = true;
  if (const Result<void> written = write_worker_setup(); !written) {
    log_line(written.error().message);
  }
  log_line("version " + std::string(kVersion) + " serves " + text_of(listeners_.endpoints()) +
           " from " + options_.store.url);
  tell_status();
  notify_systemd("READY=1");
  if (!ready_) return;
  const std::string line = "ready " + to_url(listeners_.endpoints().front()) + "\n";
  [[maybe_unused]] const ssize_t written = write(ready_.get(), line.data(), line.size());
  ready_.reset();
}

void Supervisor::tell_status() const {
  notify_systemd("STATUS=" + std::to_string(wanted_) + " workers serve " +
                 text_of(listeners_.endpoints()));
}

void Supervisor::start_due_workers() {
  if (stopping_) return;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const bool idle = slots_[i].state == WorkerState::kWaiting;
    const bool needed = !slots_[i].retiring || listeners_.has_queued(i);
    if (idle && needed && slots_[i].start_at <= Clock::now()) start(i);
  }
}

void Supervisor::start(std::size_t index) {
  Slot& slot = slots_[index];
  Result<WorkerProcess> process =
      start_worker(binary_, setup_, index, listeners_.sockets_of(index));
  if (!process) {
    back_off(slot);
    return log_line(process.error().message + "; next try in " +
                    std::to_string(slot.pause.count()) + " ms");
  }
  slot.process = std::move(*process);
  enter(slot, WorkerState::kStarting);
}

// Brings the number of slots to what is wanted: at the end, so that a slot's number is its place
// among the sockets of an address, and adding none while another is being removed.
Result<void> Supervisor::adjust_slots() {
  remove_retired_slots();
  const std::size_t wanted = first_ready_ ? wanted_ : 1;
  // One that stays must serve first: those that go may be the only ones that can.
  const bool one_serves = serves(wanted);
  if (slots_.size() > wanted && !slots_[wanted].retiring && one_serves) retire_slots_from(wanted);
  if (slots_.size() >= wanted || slots_.back().retiring) return {};
  return add_slots_up_to(wanted);
}

void Supervisor::remove_retired_slots() {
  while (slots_.size() > 1 && slots_.back().retiring &&
         slots_.back().state == WorkerState::kWaiting &&
         !listeners_.has_queued(slots_.size() - 1)) {
    slots_.pop_back();
    listeners_.remove_slot();
  }
}

void Supervisor::retire_slots_from(std::size_t first) {
  for (std::size_t i = first; i < slots_.size(); ++i) {
    slots_[i].retiring = true;
    if (slots_[i].state == WorkerState::kReady) drain(slots_[i]);
  }
  route();
}

// If not all can be added, none is: returns an Error, and the present number becomes the wanted
// one.
Result<void> Supervisor::add_slots_up_to(std::size_t wanted) {
  const std::size_t before = slots_.size();
  while (slots_.size() < wanted) {
    if (const Result<void> added = listeners_.add_slot(); !added) {
      for (; slots_.size() > before; slots_.pop_back()) listeners_.remove_slot();
      wanted_ = before;
      return Error{added.error().code, "no sockets for " + std::to_string(wanted) +
                                           " workers, so there are still " +
                                           std::to_string(before) + ": " + added.error().message};
    }
    slots_.emplace_back();
  }
  route();
  start_due_workers();
  return {};
}

// Slots whose worker fails to start get no connections, which would wait there for the next try,
// unless all slots are so.
void Supervisor::route() {
  if (stopping_) return;
  std::vector<std::size_t> staying;
  std::vector<std::size_t> working;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].retiring) continue;
    staying.push_back(i);
    if (slots_[i].pause.count() == 0) working.push_back(i);
  }
  listeners_.route_to(working.empty() ? staying : working);
}

void Supervisor::stop() {
  stopping_ = true;
  const std::chrono::microseconds longest = options_.drain_timeout + 2 * kKillPatience;
  notify_systemd("STOPPING=1\nSTATUS=finishing what is in flight\nEXTEND_TIMEOUT_USEC=" +
                 std::to_string(longest.count()));
  listeners_.close();
  for (Slot& slot : slots_) {
    if (slot.process.pid > 0) drain(slot);
  }
}

void Supervisor::drain(Slot& slot) {
  if (slot.state == WorkerState::kReady) enter(slot, WorkerState::kDraining);
  slot.kill_at = std::min(slot.kill_at, end_of_patience());
  kill(slot.process.pid, SIGTERM);
}

// With a worker that is told to end now.
Supervisor::Clock::time_point Supervisor::end_of_patience() const {
  return Clock::now() + options_.drain_timeout + kKillPatience;
}

void Supervisor::kill_all() {
  for (Slot& slot : slots_) slot.kill_at = Clock::now();
  for (Leaving& worker : leaving_) worker.kill_at = Clock::now();
}

void Supervisor::kill_overdue() {
  const auto kill_if_due = [now = Clock::now()](pid_t pid, Clock::time_point& kill_at) {
    if (now < kill_at) return;
    kill_at = Clock::time_point::max();
    if (pid <= 0) return;
    log_line("the worker with pid " + std::to_string(pid) + " has not ended in time: killed");
    kill(pid, SIGKILL);
  };
  for (Slot& slot : slots_) kill_if_due(slot.process.pid, slot.kill_at);
  for (Leaving& worker : leaving_) kill_if_due(worker.process.pid, worker.kill_at);
}

void Supervisor::end_when_empty() {
  ended_ = stopping_ && leaving_.empty() &&
           std::all_of(slots_.begin(), slots_.end(),
                       [](const Slot& slot) { return slot.process.pid == 0; });
}

Result<DaemonInfo> Supervisor::answer(const ControlRequest& request) {
  switch (request.command) {
    case ControlCommand::kWorkers:
      return info();
    case ControlCommand::kScale:
      return scale(request.workers);
    case ControlCommand::kStop:
      break;
  }
  log_line("counterctl stop: the daemon ends");
  if (!stopping_) stop();
  return info();
}

Result<DaemonInfo> Supervisor::scale(int workers) {
  if (stopping_) return Error{Code::kUnavailable, "the daemon is ending"};
  wanted_ = static_cast<std::size_t>(workers);
  log_line("counterctl scale: " + std::to_string(wanted_) + " workers are wanted");
  const Result<void> adjusted = adjust_slots();
  tell_status();
  if (!adjusted) return adjusted.error();
  return info();
}

DaemonInfo Supervisor::info() const {
  DaemonInfo info;
  info.pid = getpid();
  info.ready = !stopping_ && all_ready();
  info.stopping = stopping_;
  info.settings = options_.settings;
  for (const Endpoint& endpoint : listeners_.endpoints())
    info.addresses.push_back(to_url(endpoint));
  info.wanted = static_cast<int>(wanted_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    info.workers.push_back({slot.process.pid, static_cast<int>(i), slot.state, slot.since_ms});
  }
  for (const Leaving& worker : leaving_) {
    info.workers.push_back({worker.process.pid, static_cast<int>(worker.slot),
                            WorkerState::kLeaving, worker.since_ms});
  }
  return info;
}

void Supervisor::enter(Slot& slot, WorkerState state) {
  slot.state = state;
  slot.since_ms = unix_now_ms();
}

}  // namespace counterd
