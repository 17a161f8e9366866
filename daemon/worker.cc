#include "daemon/worker.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <optional>
#include <system_error>

#include "common/deadline.h"
#include "common/log.h"
#include "common/timestamp.h"
#include "daemon/server.h"
#include "daemon/timer.h"
#include "daemon/worker_process.h"
#include "daemon/worker_setup.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;

// Descriptors besides those of connections: store, log, event loop and the like.
constexpr rlim_t kOtherDescriptors = 64;

// How long a store may take to be closed after the drain timeout; the supervisor waits longer.
constexpr milliseconds kClosingPatience{1'000};

constexpr milliseconds kFirstProbePause{50};
constexpr milliseconds kLongestProbePause{500};

// Raises the limit of descriptors to fit; returns the number of connections that it allows.
std::size_t fit_descriptors(std::size_t connections) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = connections + kOtherDescriptors;
  // The supervisor has raised it as far as anybody may; beyond that only root may.
  const rlimit raised{wanted, wanted};
  if (limit.rlim_cur < wanted && setrlimit(RLIMIT_NOFILE, &raised) == 0) return connections;
  const rlim_t left = std::max(limit.rlim_cur, kOtherDescriptors + 1) - kOtherDescriptors;
  if (left < connections) {
    log_warning("the limit of open files, " + std::to_string(limit.rlim_cur) +
                ", leaves room for " + std::to_string(left) + " of " + std::to_string(connections) +
                " connections (ulimit -n; LimitNOFILE= of systemd)");
  }
  return std::min<std::size_t>(connections, left);
}

// Lets the end of the supervisor end this process too. The lifeline does not do that while the
// store is opened: nobody looks at it then, for as long as --store-timeout, and the sockets are
// held meanwhile.
void end_with_supervisor() {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (is_readable(kLifelineFd)) _exit(0);  // it has ended before that
}

void set_up_worker() {
  prctl(PR_SET_NAME, "counterd");  // executing by descriptor has made it a number
  signal(SIGINT, SIG_IGN);  // Ctrl-C reaches all of a terminal's processes: the supervisor decides
  signal(SIGHUP, SIG_IGN);
  fcntl(kLifelineFd, F_SETFD, FD_CLOEXEC);
}

class Worker {
 public:
  // Throws std::system_error, as does listen().
  Worker(int slot, const WorkerSetup& setup, std::unique_ptr<Store> store)
      : batcher_(loop_, std::move(store), setup.store.timeout),
        server_(loop_, batcher_, setup.api,
                {.pid = getpid(), .slot = slot, .started_at_ms = unix_now_ms()},
                fit_descriptors(setup.max_connections)),
        drain_timeout_(setup.drain_timeout),
        signals_(loop_, SIGTERM),
        lifeline_(loop_, kLifelineFd),
        readiness_(std::make_shared<Readiness>(*this)) {}

  // On the first `sockets` descriptors from kFirstSocketFd on.
  void listen(int sockets) {
    for (int i = 0; i < sockets; ++i) {
      fcntl(kFirstSocketFd + i, F_SETFD, FD_CLOEXEC);
      server_.listen(UniqueFd(kFirstSocketFd + i));
    }
  }

  void run() {
    signals_.async_wait([this](const asio::error_code& failure, int) {
      if (!failure) drain();
    });
    leave_signals_to_the_other_thread();
    watch_lifeline();
    readiness_->probe();
    batcher_.run();
    batcher_.close();
  }

  [[noreturn]] static void give_up(const Error& error) {
    tell_failure(kLifelineFd, error);
    _exit(code_info(error.code).exit_status);
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
      after(worker_.loop_, pause_, [self = shared_from_this()] { self->probe(); });
      pause_ = std::min(2 * pause_, kLongestProbePause);
    }

    Worker& worker_;
    milliseconds pause_ = kFirstProbePause;
  };

  void say_ready(const StoreStatus& store) {
    log_line("serves " + store.location + ": " + store.durability);
    tell_supervisor(kReadyWord);
  }

  // If the supervisor is gone, the lifeline shows that too.
  static void tell_supervisor(char word) { send(kLifelineFd, &word, 1, MSG_NOSIGNAL); }

  void watch_lifeline() {
    lifeline_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [this](const asio::error_code& failure) {
                           if (failure) return;
                           log_warning("the supervisor is gone; this worker ends");
                           drain();
                         });
  }

  void drain() {
    if (server_.draining()) return;
    server_.drain(drain_timeout_, [this] { batcher_.stop(); });
    tell_supervisor(kLeavingWord);
    after(loop_, drain_timeout_, [this] { end_now(); });
  }

  // Cuts off the connections that are left, so that the store is closed in good order all the same.
  void end_now() {
    const std::size_t unanswered = server_.cut_off_all();
    if (unanswered > 0) {
      log_warning("cut off " + std::to_string(unanswered) +
                  " connections at the end of --drain-timeout");
    }
    after(loop_, kClosingPatience, [] {
      log_warning("did not wait for the store to be closed");
      _exit(0);  // the other thread is waiting for it
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

// Errors: as open_store(). Gives up where there are too few threads, descriptors or watches.
Result<void> serve(int slot, int sockets, const WorkerSetup& setup) {
  Result<std::unique_ptr<Store>> store = open_store(setup.store);
  if (!store) return store.error();
  std::optional<Worker> worker;
  try {
    worker.emplace(slot, setup, std::move(*store));
    worker->listen(sockets);
  } catch (const std::system_error& failure) {
    const bool lacks_watches = failure.code().value() == ENOSPC;  // epoll(7)
    // Now: the lifeline ends with the worker.
    Worker::give_up(
        {Code::kIo, std::string("cannot start a worker: ") + failure.what() +
                        (lacks_watches ? " (sysctl fs.epoll.max_user_watches)"
                                       : " (ulimit -u, -n; TasksMax=, LimitNOFILE= of systemd)")});
  }
  worker->run();
  return {};
}

}  // namespace

int run_worker(int slot, int sockets) {
  set_up_worker();
  const Result<WorkerSetup> setup = read_setup(UniqueFd(kSetupFd));
  if (!setup) {  // there is no supervisor
    log_warning(setup.error().message);
    return code_info(setup.error().code).exit_status;
  }
  close(kFirstSocketFd + sockets);  // its program
  end_with_supervisor();
  const Result<void> served = serve(slot, sockets, *setup);
  if (served) return 0;
  tell_failure(kLifelineFd, served.error());
  return code_info(served.error().code).exit_status;
}

}  // namespace counterd
