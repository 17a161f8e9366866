#include "cli/last_words.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <utility>

namespace counterd {
namespace {

std::atomic<const std::string*> current = nullptr;
static_assert(std::atomic<const std::string*>::is_always_lock_free);  // for a signal handler

// The signal's own action is the default one again by now; it is blocked until this returns. A
// reader that does not read must not keep the command from ending.
void speak(int signal) {
  pollfd output{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  const std::string* const words = current;
  if (words != nullptr && poll(&output, 1, 0) == 1) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, words->data(), words->size());
  }
  raise(signal);
}

}  // namespace

LastWords::LastWords() {
  struct sigaction action {};
  action.sa_handler = speak;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

LastWords::~LastWords() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  current = nullptr;
}

void LastWords::set(std::string words) {
  words_[next_] = std::move(words);
  current = &words_[next_];
  next_ = 1 - next_;
}

}  // namespace counterd
