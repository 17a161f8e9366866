#include "daemon/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "common/log.h"
#include "common/process.h"
#include "common/version.h"
#include "daemon/worker_setup.h"

namespace counterd {
namespace {

// How long to wait for an address that is taken: workers whose supervisor was killed let go of it
// when they notice, and two daemons that start at once may each find that the other has it.
constexpr std::chrono::seconds kAddressPatience{1};

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

// While this lives, SIGTERM and SIGINT end the process at once: looking up names may take long. The
// next daemon removes the sockets that are there already. By a handler, because the first process
// of a container ignores signals that it does not handle.
class EndingAtOnce {
 public:
  EndingAtOnce() {
    sigemptyset(&signals_);
    for (const int number : {SIGTERM, SIGINT}) {
      std::signal(number, [](int) { _exit(0); });
      sigaddset(&signals_, number);
    }
    sigprocmask(SIG_UNBLOCK, &signals_, nullptr);
  }
  EndingAtOnce(const EndingAtOnce&) = delete;
  EndingAtOnce& operator=(const EndingAtOnce&) = delete;
  ~EndingAtOnce() { sigprocmask(SIG_BLOCK, &signals_, nullptr); }

 private:
  sigset_t signals_{};
};

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

Result<Listeners> open_listeners(const DaemonOptions& options) {
  const EndingAtOnce ending;
  Result<Listeners> listeners = Listeners::from_systemd();
  if (listeners && listeners->endpoints().empty()) {
    listeners =
        Listeners::open(options.listen, std::chrono::steady_clock::now() + kAddressPatience);
  }
  if (!listeners) return listeners;
  const std::vector<int> sockets = listeners->sockets_of(0);
  if (std::ranges::find(sockets, options.ready_fd) == sockets.end()) return listeners;
  return Error{Code::kConfig, "--ready-fd: descriptor " + std::to_string(options.ready_fd) +
                                  " is a socket from systemd; name another one"};
}

// For the listening addresses `bound`. The first worker to be ready may create the database. Both
// setups now: descriptors may be short when a worker becomes ready.
Result<WorkerProgram> worker_program(const DaemonOptions& options,
                                     const std::vector<Endpoint>& bound) {
  UniqueFd binary(open("/proc/self/exe", O_PATH | O_CLOEXEC));  // may be executable only
  if (!binary) return system_error(Code::kIo, "cannot open /proc/self/exe", errno);
  WorkerSetup setup{
      options.store,
      {sender_rules(options.allowed_hosts, options.listen, bound), options.allow_get_writes},
      static_cast<std::size_t>(options.max_connections),
      options.drain_timeout};
  setup.store.key_reserve = longest_hold_up(setup.store.timeout);
  setup.store.empty_wal = true;
  setup.store.create = true;
  Result<UniqueFd> first = write_setup(setup);
  if (!first) return first.error();
  setup.store.create = false;  // a database that is missing later has been lost
  Result<UniqueFd> rest = write_setup(setup);
  if (!rest) return rest.error();
  return WorkerProgram{std::move(binary), std::move(*first), std::move(*rest)};
}

std::string text_of(const std::vector<Endpoint>& endpoints) {
  std::string text;
  for (const Endpoint& endpoint : endpoints) text += (text.empty() ? "" : ", ") + to_url(endpoint);
  return text;
}

}  // namespace

Result<Supervisor> Supervisor::open(DaemonOptions options) {
  raise_descriptor_limit();
  Result<UniqueFd> ready = take_over_descriptor(options.ready_fd);
  if (!ready) return ready.error();
  Result<UniqueFd> signals = take_over_signals();
  if (!signals) return signals.error();
  Result<Listeners> listeners = open_listeners(options);
  if (!listeners) return listeners.error();
  Result<ControlServer> control = ControlServer::open(listeners->endpoints());
  if (!control) return control.error();
  Result<WorkerProgram> program = worker_program(options, listeners->endpoints());
  if (!program) return program.error();
  WorkerPool workers(std::move(*listeners), std::move(*program), options.workers,
                     options.drain_timeout);
  // It must remain possible to remove the caller's folder and to unmount its disk.
  if (chdir("/") != 0) return system_error(Code::kIo, "cannot change to the folder /", errno);
  return Supervisor(std::move(options), std::move(*ready), std::move(*signals), std::move(*control),
                    std::move(workers));
}

int Supervisor::run() {
  systemd_.tell("STATUS=starting: a worker is ready when the store has answered it");
  while (!workers_.has_ended()) {
    workers_.start_due();
    wait();
  }
  if (workers_.was_ready()) {
    log_line("the daemon ended with status " + std::to_string(exit_status_));
  }
  control_.say_ended();
  return exit_status_;
}

void Supervisor::wait() {
  std::vector<pollfd> polled = {{signals_.get(), POLLIN, 0}};
  control_.add_to(polled);
  workers_.add_to(polled);
  poll(polled.data(), polled.size(), milliseconds_to_wait());
  workers_.take_words();
  control_.serve(polled, [this](const ControlRequest& request) { return answer(request); });
  control_.expire();
  if ((polled.front().revents & POLLIN) != 0) take_signals();
  workers_.kill_overdue();
  systemd_.send_due();
  if (const Result<void> adjusted = workers_.adjust(); !adjusted) {
    log_warning(adjusted.error().message);
  }
  if (workers_.note_ready()) say_ready();
  if (workers_.was_ready() && !workers_.is_draining()) tell_systemd();
}

int Supervisor::milliseconds_to_wait() const {
  const Time next =
      std::min({control_.next_deadline(), systemd_.next_deadline(), workers_.next_deadline()});
  return next == Time::max() ? -1 : milliseconds_until(next);
}

void Supervisor::take_signals() {
  signalfd_siginfo signal{};
  while (read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGCHLD) {
      take_ends_of_workers();
    } else if (signal.ssi_signo == SIGHUP) {
      log_line("SIGHUP is ignored: restart the daemon to change its settings");
    } else {
      take_end_signal(static_cast<int>(signal.ssi_signo));
    }
  }
}

void Supervisor::take_end_signal(int number) {
  const Time now = std::chrono::steady_clock::now();
  if (now < one_signal_until_) return;
  // Of signals: counterctl stop may have told the daemon to end before the first one.
  const bool is_second = std::exchange(one_signal_until_, now + kOneSignal) != Time();
  log_line("got SIG" + std::string(sigabbrev_np(number)) +
           (is_second ? ": the workers are killed" : ": the daemon ends"));
  is_second ? workers_.kill_all() : stop();
}

void Supervisor::take_ends_of_workers() {
  const std::optional<int> fatal = workers_.reap();
  if (!fatal) return;
  exit_status_ = *fatal;
  stop();
}

void Supervisor::say_ready() {
  log_line("version " + std::string(kVersion) + " serves " + text_of(workers_.endpoints()) +
           " from " + options_.store.url);
  if (ready_) {
    const std::string line = "ready " + to_url(workers_.endpoints().front()) + "\n";
    [[maybe_unused]] const ssize_t written = write(ready_.get(), line.data(), line.size());
    ready_.reset();
  }
}

void Supervisor::tell_systemd() {
  systemd_.tell("READY=1\nSTATUS=" + std::to_string(workers_.serving()) + " of " +
                std::to_string(workers_.wanted()) + " workers serve " +
                text_of(workers_.endpoints()));
}

void Supervisor::stop() {
  if (workers_.is_draining()) return;
  const std::chrono::microseconds longest = options_.drain_timeout + 2 * WorkerPool::kKillPatience;
  systemd_.tell("STOPPING=1\nSTATUS=finishing what is in flight\nEXTEND_TIMEOUT_USEC=" +
                std::to_string(longest.count()));
  workers_.drain();
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
  stop();
  return info();
}

Result<DaemonInfo> Supervisor::scale(int workers) {
  if (workers_.is_draining()) return Error{Code::kUnavailable, "the daemon is ending"};
  log_line("counterctl scale: " + std::to_string(workers) + " workers are wanted");
  if (const Result<void> adjusted = workers_.resize(workers); !adjusted) return adjusted.error();
  return info();
}

DaemonInfo Supervisor::info() const {
  DaemonInfo info;
  info.pid = getpid();
  info.stopping = workers_.is_draining();
  info.ready = !info.stopping && workers_.all_ready();
  info.settings = settings_of(options_);
  info.wanted = workers_.wanted();
  info.workers = workers_.workers();
  return info;
}

}  // namespace counterd
