#include "common/log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>  // also program_invocation_short_name
#include <cstdlib>
#include <string>
#include <thread>

#include "common/deadline.h"
#include "common/quote.h"
#include "common/timestamp.h"

namespace counterd {

namespace {

using std::chrono::steady_clock;

// How long to wait for a busy reader. If there is room for a line, a pipe takes all of it at once
// (pipe(7), PIPE_BUF).
constexpr std::chrono::milliseconds kPatience{100};

// A terminal refuses whoever does not wait while another process writes to it.
constexpr std::chrono::milliseconds kPause{1};

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

// Standard error. A terminal is ready as soon as it has room for a byte, and a writer whose line is
// longer waits until somebody reads. So it is opened once more, not to wait: set on standard error
// itself, that would hold for all who have it from the same shell. Where it may not be opened, it
// is used as it is.
int open_output() {
  if (isatty(STDERR_FILENO) == 0) return STDERR_FILENO;
  const int terminal = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  return terminal < 0 ? STDERR_FILENO : terminal;
}

void write_line(std::string_view urgency, std::string_view message) {
  static const int output = open_output();
  const std::string line = beginning_of_line(urgency) + escape_controls(message) + '\n';
  // If standard error is gone there is no one to tell; if nobody reads it any more, counting goes
  // on without. A slow terminal takes a line in parts.
  std::string_view left = line;
  Deadline deadline = steady_clock::now() + kPatience;
  while (!left.empty() && wait_ready(output, POLLOUT, deadline)) {
    const ssize_t written = write(output, left.data(), left.size());
    if (written > 0) {
      left.remove_prefix(static_cast<std::size_t>(written));
      deadline = steady_clock::now() + kPatience;
    } else if (errno == EAGAIN) {
      std::this_thread::sleep_for(kPause);
    } else {
      return;
    }
  }
}

}  // namespace

void log_line(std::string_view message) {
  write_line("<6>", message);
}

void log_warning(std::string_view message) {
  write_line("<4>", message);
}

}  // namespace counterd
