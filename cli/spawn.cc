#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <thread>

#include "cli/command.h"
#include "cli/daemon.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/state_directory.h"
#include "common/unique_fd.h"
#include "common/wait_readable.h"

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

// `value` with its path, if it is one of `flag`'s that holds one, made absolute: the daemon does
// not stay in the caller's folder, and the same words said elsewhere name another file.
std::string with_absolute_path(std::string_view flag, const std::string& value) {
  constexpr std::string_view kStore = "sqlite:";
  constexpr std::string_view kSocket = "unix:";
  std::string_view scheme;
  if (flag == "--store" && value.starts_with(kStore)) {
    scheme = kStore;
  } else if (flag == "--listen" && value.starts_with(kSocket)) {
    scheme = kSocket;
  } else if (flag != "--config" && flag != "--redis-password-file") {
    return value;
  }
  const std::string path = value.substr(scheme.size());
  if (path.empty()) return value;  // for counterd to refuse
  return std::string(scheme) + std::filesystem::absolute(path).lexically_normal().string();
}

// The flags as "--name=value", paths absolute, so that the same flags read the same.
Words normalized(const Words& given) {
  Words flags;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::size_t equals = given[i].find('=');
    const std::string flag = given[i].substr(0, equals);
    const bool takes_value = flag.starts_with("--") && flag != "--allow-get-writes" &&
                             flag != "--require-durable" && flag != "--check-config";
    if (equals != std::string::npos) {
      flags.push_back(flag + "=" + with_absolute_path(flag, given[i].substr(equals + 1)));
    } else if (takes_value && i + 1 < given.size()) {
      flags.push_back(flag + "=" + with_absolute_path(flag, given[++i]));
    } else {
      flags.push_back(given[i]);
    }
  }
  return flags;
}

// The address that the flags name first; that of the server, if they name none.
Result<Endpoint> endpoint_of(const Globals& globals, const Words& flags) {
  constexpr std::string_view kListen = "--listen=";
  for (const std::string& flag : flags) {
    if (flag.starts_with(kListen)) return parse_endpoint(flag.substr(kListen.size()));
  }
  return globals.server;
}

// counterd's flags: those given, and what follows from counterctl's own options.
Words daemon_flags(const Globals& globals, const Words& given) {
  Words flags = normalized(given);
  const bool names_address = std::any_of(flags.begin(), flags.end(), [](const std::string& flag) {
    return flag.starts_with("--listen=") || flag.starts_with("--config=");
  });
  if (globals.server_given && !names_address) {
    flags.push_back("--listen=" + to_string(globals.server));
  }
  return flags;
}

// Two spawns at once would both find no daemon: the second waits for the first here.
Result<UniqueFd> take_spawn_lock(const std::string& directory, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{10};
  const std::string path = directory + "/spawn.lock";
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return system_error(Code::kConfig, "cannot open " + path, errno);
  while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (steady_clock::now() >= deadline) {
      return Error{Code::kUnavailable, "another spawn holds " + path + " (see lslocks)"};
    }
    std::this_thread::sleep_for(kPause);
  }
  return lock;
}

Result<UniqueFd> open_log(const std::string& path) {
  UniqueFd log(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!log) return system_error(Code::kConfig, "cannot open the log " + path, errno);
  return log;
}

// In the child: leaves the session, keeps no descriptor of the caller's but the three that it is
// given, and becomes the daemon.
[[noreturn]] void become_daemon(const std::string& program, std::vector<char*>& argv,
                                const UniqueFd& log, const UniqueFd& ready) {
  setsid();
  // Where the caller was it must be possible to remove the folder and unmount the disk.
  if (chdir("/") != 0) _exit(code_info(Code::kIo).exit_status);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(log.get(), STDOUT_FILENO);
  dup2(log.get(), STDERR_FILENO);
  if (ready.get() == kReadyFd) {
    fcntl(kReadyFd, F_SETFD, 0);
  } else {
    dup2(ready.get(), kReadyFd);
  }
  close_range(kReadyFd + 1, ~0U, 0);
  execvp(program.c_str(), argv.data());
  const std::string message = "cannot run " + program + "\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message.data(), message.size());
  _exit(code_info(Code::kIo).exit_status);
}

// Waits for the line "ready URL"; the URL. Empty: the daemon ends, or time is up.
std::string wait_until_ready(const UniqueFd& ready, Deadline deadline) {
  std::string line;
  while (!line.ends_with('\n')) {
    if (!wait_readable(ready.get(), deadline)) return {};
    std::array<char, 512> portion{};
    const ssize_t size = read(ready.get(), portion.data(), portion.size());
    if (size <= 0) return {};
    line.append(portion.data(), static_cast<std::size_t>(size));
  }
  constexpr std::string_view kReady = "ready ";
  return line.substr(kReady.size(), line.size() - kReady.size() - 1);
}

// The first of what the log holds from `start` on: the daemon that fails says why before all else.
std::string log_since(const std::string& path, off_t start) {
  std::array<char, 2048> text{};
  const UniqueFd log(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t size = pread(log.get(), text.data(), text.size(), start);
  return {text.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

// Why the daemon with `pid` is not ready. One that ends may do so a moment after its pipe has.
Error failure_of(pid_t pid, const std::string& log_path, off_t log_start, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{5};
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPause);
  }
  if (ended != pid) {
    return {Code::kUnknown, "the daemon (pid " + std::to_string(pid) +
                                ") was started and is not ready yet; its log is " + log_path};
  }
  const bool by_config =
      WIFEXITED(status) && WEXITSTATUS(status) == code_info(Code::kConfig).exit_status;
  const bool by_usage =
      WIFEXITED(status) && WEXITSTATUS(status) == code_info(Code::kUsage).exit_status;
  return {by_config  ? Code::kConfig
          : by_usage ? Code::kUsage
                     : Code::kUnavailable,
          "the daemon ended while it started; its log, " + log_path + ", says:\n" +
              log_since(log_path, log_start)};
}

struct Started {
  pid_t pid = 0;
  std::string url;
};

Result<Started> start_daemon(const Globals& globals, const Words& flags, int workers,
                             const std::string& log_path) {
  const Result<UniqueFd> log = open_log(log_path);
  if (!log) return log.error();
  const off_t log_start = lseek(log->get(), 0, SEEK_END);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return system_error(Code::kIo, "cannot make a pipe", errno);
  }
  const UniqueFd ready(ends[0]);
  UniqueFd to_daemon(ends[1]);
  const std::string program = find_daemon_program();
  Words words = {program, "--ready-fd", std::to_string(kReadyFd)};
  if (workers > 0) words.insert(words.end(), {"--workers", std::to_string(workers)});
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return system_error(Code::kIo, "cannot start the daemon", errno);
  if (pid == 0) become_daemon(program, argv, *log, to_daemon);
  to_daemon.reset();
  const std::string url = wait_until_ready(ready, globals.deadline);
  if (url.empty()) return failure_of(pid, log_path, log_start, globals.deadline);
  return Started{pid, url};
}

void print_started(const Globals& globals, const std::string& url, pid_t pid,
                   const std::string& log_path) {
  std::string line = url;
  if (globals.json) {
    line = R"({"url":")" + url + R"(","pid":)" + std::to_string(pid) + R"(,"log":)";
    append_json_string(line, log_path);
    line += '}';
  }
  print_line(globals, line);
  if (globals.quiet || globals.json) return;
  std::cerr << "counterctl: counterd is ready, pid " << pid << ", log " << log_path << '\n';
}

// A daemon with the same flags serves already: sees to `workers` more.
Result<void> add_workers_to(const Globals& globals, const DaemonInfo& daemon, const Words& flags,
                            int workers) {
  if (daemon.arguments != flags) {
    return Error{Code::kConfig, "a daemon with other flags serves " + daemon.addresses.front() +
                                    " already (pid " + std::to_string(daemon.pid) +
                                    "); change its workers with: counterctl scale N"};
  }
  const int sum = std::min(daemon.wanted + workers, static_cast<int>(kMaxWorkers));
  const Result<DaemonInfo> scaled = scale_daemon(globals, sum);
  if (!scaled) return scaled.error();
  if (globals.json) {
    print_line(globals, R"({"url":")" + daemon.addresses.front() + R"(","pid":)" +
                            std::to_string(daemon.pid) + R"(,"workers":)" + std::to_string(sum) +
                            "}");
    return {};
  }
  print_line(globals, daemon.addresses.front());
  if (globals.quiet) return {};
  std::cerr << "counterctl: counterd serves already, pid " << daemon.pid << ", and has " << sum
            << " workers now\n";
  return {};
}

Result<void> spawn(Globals globals, const Words& given, int workers) {
  const Words flags = daemon_flags(globals, given);
  const Result<Endpoint> endpoint = endpoint_of(globals, flags);
  if (!endpoint) return endpoint.error();
  const Result<std::string> directory = make_state_directory();
  if (!directory) return directory.error();
  const Result<UniqueFd> lock = take_spawn_lock(*directory, globals.deadline);
  if (!lock) return lock.error();
  globals.server = *endpoint;
  if (endpoint->is_unix() || endpoint->port != 0) {
    const auto daemon = ask_daemon(*endpoint, {"workers"}, globals.deadline);
    if (daemon) return add_workers_to(globals, *daemon, flags, std::max(workers, 1));
  }
  std::string name = to_string(*endpoint);
  std::replace(name.begin(), name.end(), '/', '-');
  const std::string log_path = *directory + "/" + name + ".log";
  const Result<Started> started = start_daemon(globals, flags, workers, log_path);
  if (!started) return started.error();
  print_started(globals, started->url, started->pid, log_path);
  return {};
}

}  // namespace

Run add_spawn(CLI::App& app) {
  struct Options {
    std::string workers;
    Words flags;
  };
  auto options = std::make_shared<Options>();
  app.add_option("--workers", options->workers, "worker processes; or how many more")
      ->type_name("N");
  app.add_option("flags", options->flags, "behind --: counterd's flags")->type_name("FLAG");
  return [options](const Globals& globals) -> Result<void> {
    int workers = 0;
    if (!options->workers.empty()) {
      const Result<std::int64_t> number = parse_int64_within(
          options->workers, "--workers", 1, static_cast<std::int64_t>(kMaxWorkers));
      if (!number) return number.error();
      workers = static_cast<int>(*number);
    }
    return spawn(globals, options->flags, workers);
  };
}

}  // namespace counterd
