// What a command says if SIGINT, SIGTERM or SIGHUP ends it: how to go on after what it has done.
#pragma once

#include <array>
#include <csignal>
#include <string>

namespace counterd {

// While there is one, and at most one at a time: a signal that is not ignored writes the words that
// were set last to standard error, and then ends the process as if nobody had caught it.
class LastWords {
 public:
  LastWords();
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;
  ~LastWords();

  void set(std::string words);

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

  std::array<struct sigaction, kSignals.size()> before_{};
  std::array<std::string, 2> words_;  // those that a signal finds, and the next ones
  std::size_t next_ = 0;
};

}  // namespace counterd
