#include "common/log.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>  // program_invocation_short_name
#include <cstdlib>
#include <string>

#include "common/quote.h"
#include "common/timestamp.h"

namespace counterd {

namespace {

// How long to wait for a busy reader. If there is room for a line, a pipe takes all of it at once
// (pipe(7), PIPE_BUF).
constexpr int kPatienceMs = 100;

// Whether standard error is a file, to which nobody else adds the time, as the journal does.
bool is_kept() {
  static const bool kept = [] {
    struct stat output {};
    return fstat(STDERR_FILENO, &output) == 0 && S_ISREG(output.st_mode);
  }();
  return kept;
}

// Whether standard error is the journal, as systemd.exec(5) says how to find out.
bool is_journal() {
  static const bool journal = [] {
    const char* const stream = std::getenv("JOURNAL_STREAM");
    struct stat output {};
    return stream != nullptr && fstat(STDERR_FILENO, &output) == 0 &&
           stream == std::to_string(output.st_dev) + ":" + std::to_string(output.st_ino);
  }();
  return journal;
}

// `urgency`: what a line of the journal begins with (sd-daemon(3)); always one, so that no message
// has one of its own.
std::string beginning_of_line(std::string_view urgency) {
  if (is_journal()) return std::string(urgency);
  const std::string time = is_kept() ? format_timestamp(unix_now_ms()) + " " : "";
  return time + program_invocation_short_name + "[" + std::to_string(getpid()) + "]: ";
}

void write_line(std::string_view urgency, std::string_view message) {
  const std::string line = beginning_of_line(urgency) + escape_controls(message) + '\n';
  // If standard error is gone there is no one to tell; if nobody reads it any more, counting goes
  // on without.
  pollfd output{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&output, 1, kPatienceMs) != 1) return;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void log_line(std::string_view message) {
  write_line("<6>", message);
}

void log_warning(std::string_view message) {
  write_line("<4>", message);
}

}  // namespace counterd
