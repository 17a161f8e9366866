#include "common/log.h"

#include <unistd.h>

#include <algorithm>
#include <string>

namespace counterd {

void log_line(std::string_view message) {
  std::string line = "counterd[" + std::to_string(getpid()) + "]: ";
  const std::size_t start = line.size();
  line += message;
  std::replace_if(
      line.begin() + static_cast<std::ptrdiff_t>(start), line.end(),
      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  line += '\n';
  // Where standard error is gone there is no one to tell.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace counterd
