#include "cli/counterd_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <thread>

#include "common/process.h"
#include "common/unique_fd.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;
using Words = std::vector<std::string>;

// The descriptor on which the daemon says that it is ready (counterd's --ready-fd).
constexpr int kReadyFd = 3;

// counterd beside this program, where a build and a package put both; else by PATH.
std::string find_daemon_program() {
  std::error_code failure;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", failure);
  const std::filesystem::path beside = self.parent_path() / "counterd";
  return !failure && access(beside.c_str(), X_OK) == 0 ? beside.string() : "counterd";
}

// How a process ends that could not become counterd, as in a shell; counterd itself never does.
constexpr int kCannotRun = 127;

// In the child: becomes counterd with these arguments.
[[noreturn]] void become_counterd(Words words) {
  const std::string program = find_daemon_program();
  words.insert(words.begin(), program);
  execvp(program.c_str(), argv_of(words).data());
  const std::string message = system_error(Code::kIo, "cannot run " + program, errno).message +
                              "; it is looked for beside counterctl, then in PATH\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message.data(), message.size());
  _exit(kCannotRun);
}

// What counterd's end means to the process that spawned it.
Code code_of_end(int status) {
  for (const Code code : {Code::kConfig, Code::kUsage, Code::kIo}) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == code_info(code).exit_status) return code;
  }
  return Code::kUnavailable;
}

struct Pipe {
  UniqueFd output, input;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return system_error(Code::kIo, "cannot make a pipe", errno);
  }
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// All that comes out of the process `pid`, which is killed if that takes longer than `deadline`.
std::string read_all(const UniqueFd& output, pid_t pid, Deadline deadline) {
  std::string text;
  std::array<char, 4096> portion{};
  for (ssize_t size = 1; size > 0;) {
    if (!wait_ready(output.get(), POLLIN, deadline)) kill(pid, SIGKILL);
    size = read(output.get(), portion.data(), portion.size());
    if (size > 0) text.append(portion.data(), static_cast<std::size_t>(size));
  }
  return text;
}

std::string content_of(const UniqueFd& file) {
  std::string text(static_cast<std::size_t>(lseek(file.get(), 0, SEEK_END)), '\0');
  const ssize_t size = pread(file.get(), text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return text;
}

// What `counterd --check-config` prints with these flags.
Result<std::string> check_config(Words flags, Deadline deadline) {
  Result<Pipe> pipe = make_pipe();
  if (!pipe) return pipe.error();
  // What comes by standard error is no setting: the loader, for one, may say something there
  // (ld.so(8), LD_PRELOAD).
  const UniqueFd errors(memfd_create("counterd-errors", MFD_CLOEXEC));
  if (!errors) return system_error(Code::kIo, "cannot make a file in memory", errno);
  flags.insert(flags.begin(), "--check-config");  // the last flag may lack its value
  const pid_t pid = fork();
  if (pid < 0) return system_error(Code::kIo, "cannot start counterd", errno);
  if (pid == 0) {
    dup2(pipe->input.get(), STDOUT_FILENO);
    dup2(errors.get(), STDERR_FILENO);
    become_counterd(std::move(flags));
  }
  pipe->input.reset();
  std::string text = read_all(pipe->output, pid, deadline);
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) {  // it waits for a file that is a FIFO, say
    return Error{Code::kUnavailable, "counterd has not read its settings within --timeout"};
  }
  if (status == 0) return text;
  text += content_of(errors);
  if (text.ends_with('\n')) text.pop_back();
  if (WEXITSTATUS(status) == kCannotRun) return Error{Code::kConfig, std::move(text)};
  return Error{code_of_end(status), "counterd refuses its settings:\n" + text};
}

Result<UniqueFd> open_log(const std::string& path) {
  UniqueFd log(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!log) return system_error(setup_code(errno), "cannot open the log " + path, errno);
  return log;
}

// In the child: leaves the session, keeps no descriptor of the caller's but the three that it is
// given, and becomes the daemon.
[[noreturn]] void become_daemon(Words words, const UniqueFd& log, const UniqueFd& ready) {
  setsid();
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(log.get(), STDOUT_FILENO);
  dup2(log.get(), STDERR_FILENO);
  if (ready.get() == kReadyFd) {
    fcntl(kReadyFd, F_SETFD, 0);
  } else {
    dup2(ready.get(), kReadyFd);
  }
  closefrom(kReadyFd + 1);  // also where the system has no close_range(2), or refuses it
  // What systemd says to the caller's unit is not for the daemon, which is none.
  for (const char* const name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID",
                                 "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    unsetenv(name);
  }
  become_counterd(std::move(words));
}

// Waits for the line "ready URL"; returns the URL. Empty: the daemon ends, or time is up.
std::string wait_until_ready(const UniqueFd& ready, Deadline deadline) {
  std::string line;
  while (!line.ends_with('\n')) {
    if (!wait_ready(ready.get(), POLLIN, deadline)) return {};
    std::array<char, 512> portion{};
    const ssize_t size = read(ready.get(), portion.data(), portion.size());
    if (size <= 0) return {};
    line.append(portion.data(), static_cast<std::size_t>(size));
  }
  constexpr std::string_view kReady = "ready ";
  return line.substr(kReady.size(), line.size() - kReady.size() - 1);
}

// What the log says, from `start` on, without its last line end: the first part of it, because a
// daemon that fails says why before anything else.
std::string log_since(const std::string& path, off_t start) {
  std::array<char, 2048> text{};
  const UniqueFd log(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t size = pread(log.get(), text.data(), text.size(), start);
  if (size < 0) return ", cannot be read";
  if (size == 0) return ", is still empty (is the address taken, or its disk full?)";
  std::string_view said(text.data(), static_cast<std::size_t>(size));
  if (said.ends_with('\n')) said.remove_suffix(1);
  return ", says:\n" + std::string(said);
}

// Why the daemon with `pid` is not ready. If it ends, it may do so a moment after its pipe.
Error failure_of(pid_t pid, const std::string& log_path, off_t log_start, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{5};
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPause);
  }
  if (ended != pid) {
    return {Code::kUnknown, "the daemon (pid " + std::to_string(pid) +
                                ") was started and is not ready yet; its log, " + log_path +
                                log_since(log_path, log_start)};
  }
  return {code_of_end(status), "the daemon ended while it started; its log, " + log_path +
                                   log_since(log_path, log_start)};
}

}  // namespace

Result<std::vector<std::string>> settings_of(std::vector<std::string> flags, Deadline deadline) {
  const Result<std::string> text = check_config(std::move(flags), deadline);
  if (!text) return text.error();
  std::vector<std::string> lines;
  std::istringstream stream(*text);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("workers = ")) lines.push_back(line);
  }
  return lines;
}

Result<Endpoint> endpoint_of(const std::vector<std::string>& settings) {
  // Not read as a file is: a socket's path may have a double quote in it.
  constexpr std::string_view kListen = "listen = \"";
  for (const std::string& line : settings) {
    if (!line.starts_with(kListen)) continue;
    return parse_endpoint(line.substr(kListen.size(), line.size() - kListen.size() - 1));
  }
  return Error{Code::kUsage, "with these flags counterd starts no daemon"};  // --help, for one
}

Result<Started> start_daemon(const std::vector<std::string>& flags, int workers,
                             const std::string& log_path, Deadline deadline) {
  const Result<UniqueFd> log = open_log(log_path);
  if (!log) return log.error();
  const off_t log_start = lseek(log->get(), 0, SEEK_END);
  Result<Pipe> pipe = make_pipe();
  if (!pipe) return pipe.error();
  Words words = {"--ready-fd", std::to_string(kReadyFd)};
  if (workers > 0) words.insert(words.end(), {"--workers", std::to_string(workers)});
  words.insert(words.end(), flags.begin(), flags.end());
  const pid_t pid = fork();
  if (pid < 0) return system_error(Code::kIo, "cannot start the daemon", errno);
  if (pid == 0) become_daemon(std::move(words), *log, pipe->input);
  pipe->input.reset();
  const std::string url = wait_until_ready(pipe->output, deadline);
  if (url.empty()) return failure_of(pid, log_path, log_start, deadline);
  return Started{pid, url};
}

}  // namespace counterd
