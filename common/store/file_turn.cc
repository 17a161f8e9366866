#include "common/store/file_turn.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace counterd {
namespace {

// flock() has no deadline. A timer interrupts it by this signal, whose handler does nothing.
int wake_signal() {
  static const int number = [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};  // and no SA_RESTART: the call must return
    sigaction(SIGRTMIN, &action, nullptr);
    return SIGRTMIN;
  }();
  return number;
}

// A signal that comes between the check of the deadline and flock() is lost, so it is repeated.
constexpr long kRepeatNs = 10'000'000;

}  // namespace

FileTurn::~FileTurn() {
  if (timer_thread_ != 0) timer_delete(timer_);
}

Result<void> FileTurn::take(Deadline deadline) {
  if (flock(file_, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK && errno != EINTR) {
    return system_error(Code::kUnavailable, "cannot lock the database", errno);
  }
  return wait(deadline);
}

void FileTurn::yield() {
  flock(file_, LOCK_UN);
}

Result<void> FileTurn::wait(Deadline deadline) {
  if (const Result<void> armed = arm(deadline); !armed) return armed.error();
  int failure = EINTR;
  while (failure == EINTR && std::chrono::steady_clock::now() < deadline) {
    failure = flock(file_, LOCK_EX) == 0 ? 0 : errno;
  }
  disarm();
  if (failure == 0) return {};
  if (failure == EINTR) {
    return Error{Code::kOverloaded,
                 "another process has held the database for too long; it may be stopped (see "
                 "lslocks)"};
  }
  return system_error(Code::kUnavailable, "cannot lock the database", failure);
}

Result<void> FileTurn::arm(Deadline deadline) {
  if (timer_thread_ != gettid()) {
    if (timer_thread_ != 0) timer_delete(timer_);
    sigset_t signals;  // whoever has started this program may have blocked it
    sigemptyset(&signals);
    sigaddset(&signals, wake_signal());
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    struct sigevent event {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = wake_signal();
    event._sigev_un._tid = gettid();
    timer_thread_ = 0;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) {
      return system_error(Code::kUnavailable, "cannot wait for the database", errno);
    }
    timer_thread_ = gettid();
  }
  using std::chrono::nanoseconds;
  const auto since_epoch = std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch());
  struct itimerspec when {};
  when.it_value.tv_sec = since_epoch.count() / 1'000'000'000;
  when.it_value.tv_nsec = since_epoch.count() % 1'000'000'000;
  when.it_interval.tv_nsec = kRepeatNs;
  timer_settime(timer_, TIMER_ABSTIME, &when, nullptr);
  return {};
}

void FileTurn::disarm() {
  const struct itimerspec never {};
  timer_settime(timer_, 0, &never, nullptr);
}

}  // namespace counterd
