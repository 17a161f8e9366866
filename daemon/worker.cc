#include "daemon/worker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>

#include "common/log.h"
#include "common/number.h"
#include "daemon/server.h"

// For the setup's durations.
template <>
struct nlohmann::adl_serializer<std::chrono::milliseconds> {
  static void to_json(json& json, const std::chrono::milliseconds& duration) {
    json = duration.count();
  }
  static void from_json(const json& json, std::chrono::milliseconds& duration) {
    duration = std::chrono::milliseconds(json.get<std::int64_t>());
  }
};

namespace counterd {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StoreOptions, url, sync, create, redis_prefix,
                                   redis_password_file, require_durable, key_lifetime, max_keys,
                                   timeout, empty_log)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SenderRules, hosts, any_address)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ApiOptions, senders, allow_get_writes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WorkerSetup, store, api, max_connections, drain_timeout)

namespace {

// None of these compiles once a field is added, which must then be named above too: workers would
// start with its default.
[[maybe_unused]] void all_fields_are_named(const StoreOptions& options) {
  [[maybe_unused]] const auto& [a, b, c, d, e, f, g, h, i, j] = options;
}
[[maybe_unused]] void all_fields_are_named(const SenderRules& rules) {
  [[maybe_unused]] const auto& [a, b] = rules;
}
[[maybe_unused]] void all_fields_are_named(const ApiOptions& options) {
  [[maybe_unused]] const auto& [a, b] = options;
}
[[maybe_unused]] void all_fields_are_named(const WorkerSetup& setup) {
  [[maybe_unused]] const auto& [a, b, c, d] = setup;
}

using std::chrono::milliseconds;

// The descriptors that a worker starts with.
constexpr int kSetupFd = 3;
constexpr int kLifelineFd = 4;
constexpr int kFirstSocketFd = 5;

// Descriptors besides those of connections: store, log, event loop and the like.
constexpr rlim_t kOtherDescriptors = 64;

constexpr milliseconds kFirstProbePause{50};
constexpr milliseconds kLongestProbePause{500};

// kUsage: there is none, because this process was not started by the supervisor.
Result<WorkerSetup> read_setup() {
  struct stat found {};
  fstat(kSetupFd, &found);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(found.st_size));
  const ssize_t size = pread(kSetupFd, bytes.data(), bytes.size(), 0);
  bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  ::close(kSetupFd);
  try {
    return nlohmann::json::from_cbor(bytes).get<WorkerSetup>();
  } catch (const nlohmann::json::exception&) {
    return Error{Code::kUsage,
                 "worker is how counterd starts its own workers; start a daemon without it, and "
                 "set the number of its workers by --workers or counterctl scale"};
  }
}

// Raises the limit of descriptors to fit; returns the number of connections that it allows.
std::size_t fit_descriptors(std::size_t connections) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = connections + kOtherDescriptors;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted) {
      rlimit raised{wanted, wanted};
      if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return connections;
      limit.rlim_cur = limit.rlim_max;
    }
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  const rlim_t left = std::max(limit.rlim_cur, kOtherDescriptors + 1) - kOtherDescriptors;
  if (left < connections) {
    log_line("the limit of open files, " + std::to_string(limit.rlim_cur) + ", leaves room for " +
             std::to_string(left) + " of " + std::to_string(connections) +
             " connections (ulimit -n; LimitNOFILE= of systemd)");
  }
  return std::min<std::size_t>(connections, left);
}

void set_up_worker() {
  prctl(PR_SET_NAME, "counterd");  // executing by descriptor has made it a number
  signal(SIGINT, SIG_IGN);  // Ctrl-C reaches all of a terminal's processes: the supervisor decides
  signal(SIGHUP, SIG_IGN);
  fcntl(kLifelineFd, F_SETFD, FD_CLOEXEC);
}

class Worker {
 public:
  Worker(int slot, const WorkerSetup& setup, std::unique_ptr<Store> store)
      : batcher_(loop_, std::move(store), setup.store.timeout),
        server_(loop_, batcher_, setup.api, figures(slot), fit_descriptors(setup.max_connections)),
        drain_timeout_(setup.drain_timeout),
        signals_(loop_, SIGTERM),
        lifeline_(loop_, kLifelineFd),
        readiness_(std::make_shared<Readiness>(*this)) {}

  void run(int sockets) {
    for (int i = 0; i < sockets; ++i) {
      fcntl(kFirstSocketFd + i, F_SETFD, FD_CLOEXEC);
      server_.listen(UniqueFd(kFirstSocketFd + i));
    }
    signals_.async_wait([this](const asio::error_code& failure, int) {
      if (!failure) drain();
    });
    leave_signals_to_the_other_thread();
    watch_lifeline();
    readiness_->probe();
    batcher_.run();
    batcher_.close();
  }

 private:
  // This thread may hang in the store, and yet be the one to which the system delivers a signal.
  static void leave_signals_to_the_other_thread() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }

  // Waits for the store's first answer.
  class Readiness : public Waiter, public std::enable_shared_from_this<Readiness> {
   public:
    explicit Readiness(Worker& worker) : worker_(worker) {}
    void probe() {
      if (!worker_.batcher_.submit(Probe{}, shared_from_this(), 0)) probe_later();
    }
    void finish(std::uint64_t, Answer answer) override {
      if (worker_.server_.draining()) return;
      const auto& status = std::get<Result<StoreStatus>>(answer);
      if (status) return worker_.say_ready(*status);
      if (status.error().code == Code::kConfig) give_up(status.error());
      probe_later();
    }

   private:
    void probe_later() {
      worker_.server_.after(pause_, [self = shared_from_this()] { self->probe(); });
      pause_ = std::min(2 * pause_, kLongestProbePause);
    }

    Worker& worker_;
    milliseconds pause_ = kFirstProbePause;
  };

  static Figures figures(int slot) {
    Figures figures;
    figures.pid = getpid();
    figures.slot = slot;
    figures.started_at_ms = unix_now_ms();
    return figures;
  }

  void say_ready(const StoreStatus& store) {
    log_line("serves " + store.location + ": " + store.durability);
    tell_supervisor(kReadyWord);
  }

  // If the supervisor is gone, the lifeline shows that too.
  static void tell_supervisor(char word) { send(kLifelineFd, &word, 1, MSG_NOSIGNAL); }

  // The batcher has logged why.
  [[noreturn]] static void give_up(const Error& error) { _exit(code_info(error.code).exit_status); }

  void watch_lifeline() {
    lifeline_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [this](const asio::error_code& failure) {
                           if (failure) return;
                           log_line("the supervisor is gone; this worker ends");
                           drain();
                         });
  }

  void drain() {
    if (server_.draining()) return;
    server_.drain(drain_timeout_, [this] { batcher_.stop(); });
    tell_supervisor(kLeavingWord);
    server_.after(drain_timeout_, [this] {
      const std::size_t connections = server_.figures().connections;
      log_line((connections == 0 ? "did not wait for the store to be closed"
                                 : "cut off " + std::to_string(connections) + " connections") +
               std::string(" at the end of --drain-timeout"));
      _exit(0);  // the other thread may be waiting for the store
    });
  }

  asio::io_context loop_{1};
  Batcher batcher_;
  Server server_;
  const milliseconds drain_timeout_;
  asio::signal_set signals_;
  asio::posix::stream_descriptor lifeline_;
  std::shared_ptr<Readiness> readiness_;
};

// In the child, before it is a worker.
[[noreturn]] void cannot_start() {
  const Error error = system_error(Code::kIo, "cannot start a worker", errno);
  log_line(error.message);
  _exit(code_info(error.code).exit_status);
}

// Puts `fds` at kSetupFd and up, marks all others to be closed, and becomes the worker. In the
// child; never returns. A worker that lacked one would take another file for it.
[[noreturn]] void become_worker(const UniqueFd& binary, const std::vector<int>& fds, char** argv) {
  const int first = kSetupFd;
  const int after = first + static_cast<int>(fds.size());
  std::vector<int> copies;
  copies.reserve(fds.size());
  const int image = fcntl(binary.get(), F_DUPFD_CLOEXEC, after);
  if (image < 0) cannot_start();
  for (const int fd : fds) {
    copies.push_back(fcntl(fd, F_DUPFD_CLOEXEC, after));
    if (copies.back() < 0) cannot_start();
  }
  for (std::size_t i = 0; i < copies.size(); ++i) {
    if (dup2(copies[i], first + static_cast<int>(i)) < 0) cannot_start();
  }
  close_range(static_cast<unsigned>(after), ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  unsetenv("NOTIFY_SOCKET");  // the supervisor speaks for the service
  fexecve(image, argv, environ);
  cannot_start();
}

}  // namespace

Result<UniqueFd> write_setup(const WorkerSetup& setup) {
  const std::vector<std::uint8_t> bytes = nlohmann::json::to_cbor(nlohmann::json(setup));
  UniqueFd file(memfd_create("counterd-setup", MFD_CLOEXEC));
  if (!file ||
      write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return system_error(Code::kIo, "cannot write the workers' setup", errno);
  }
  return file;
}

Result<WorkerProcess> start_worker(const UniqueFd& binary, const UniqueFd& setup, std::size_t slot,
                                   const std::vector<int>& sockets) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return system_error(Code::kIo, "cannot start a worker", errno);
  }
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  std::vector<int> fds = {setup.get(), theirs.get()};
  fds.insert(fds.end(), sockets.begin(), sockets.end());
  std::vector<std::string> words = {"counterd", "worker", std::to_string(slot),
                                    std::to_string(sockets.size())};
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return system_error(Code::kIo, "cannot start a worker", errno);
  if (pid == 0) become_worker(binary, fds, argv.data());
  return WorkerProcess{pid, std::move(ours)};
}

Result<void> run_worker(int slot, int sockets) {
  set_up_worker();
  const Result<WorkerSetup> setup = read_setup();
  if (!setup) return setup.error();
  Result<std::unique_ptr<Store>> store = open_store(setup->store);
  if (!store) return store.error();
  Worker(slot, *setup, std::move(*store)).run(sockets);
  return {};
}

}  // namespace counterd
