#include "common/process.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

namespace counterd {
namespace {

void hold_standard_streams() {
  int held = STDIN_FILENO;
  // A descriptor that only names a place in the file system can be neither read nor written
  // (open(2), O_PATH). It gets the lowest number that is free.
  while (held >= 0 && held <= STDERR_FILENO) held = open("/", O_PATH);
  if (held > STDERR_FILENO) close(held);
}

}  // namespace

void set_up_process() {
  hold_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

std::vector<char*> argv_of(std::vector<std::string>& words) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

}  // namespace counterd
