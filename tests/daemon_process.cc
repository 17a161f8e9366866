#include "tests/daemon_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "common/control_socket.h"
#include "common/process.h"

namespace counterd {
namespace {

constexpr int kStartTimeoutMs = 30'000;

bool names(const std::vector<std::string>& arguments, const std::string& flag) {
  return std::find(arguments.begin(), arguments.end(), flag) != arguments.end();
}

// The line that counterd writes when it is ready; empty if it ends before.
std::string read_line(int fd) {
  std::string line;
  while (!line.ends_with('\n')) {
    pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
    char byte = 0;
    if (poll(&polled, 1, kStartTimeoutMs) <= 0 || read(fd, &byte, 1) != 1) return {};
    line += byte;
  }
  line.pop_back();
  return line;
}

// As /proc tells; 0: the process is gone.
pid_t parent_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text;
  if (!std::getline(file, text)) return 0;
  std::istringstream after_name(text.substr(text.rfind(')') + 1));
  char state = 0;
  pid_t parent = 0;
  after_name >> state >> parent;
  return parent;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (parent_of(name) == parent) children.push_back(std::stoi(name));
  }
  return children;
}

// Whether any thread of the process is more than a zombie: one that waits for the disk keeps the
// sockets open after the first thread has ended.
bool is_running(pid_t pid) {
  std::error_code gone;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
    std::ifstream file(task.path() / "stat");
    std::string text;
    if (std::getline(file, text) && text.find(") Z") == std::string::npos) return true;
  }
  return false;
}

// Our own children are asked for their exit status as well.
bool is_gone(pid_t pid) {
  return waitpid(pid, nullptr, WNOHANG) == pid || !is_running(pid);
}

}  // namespace

DaemonProcess::DaemonProcess(std::vector<std::string> arguments, DaemonProgram program)
    : arguments_(std::move(arguments)), program_(std::move(program)) {
  if (!names(arguments_, "--store")) {
    arguments_.insert(arguments_.end(), {"--store", "sqlite:" + (directory_ / "counters.db")});
  }
  start();
}

DaemonProcess::~DaemonProcess() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGTERM);
  wait_for_end();
}

void DaemonProcess::start() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const UniqueFd ready(ends[0]);
  UniqueFd to_daemon(ends[1]);
  std::vector<std::string> words = {program_.binary, "--ready-fd", "3"};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  if (!names(arguments_, "--listen")) {
    words.insert(words.end(),
                 {"--listen", endpoint_.port == 0 ? "127.0.0.1:0" : to_string(endpoint_)});
  }
  std::vector<char*> argv = argv_of(words);
  setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1);
  std::vector<char*> environment;
  for (char** each = environ; *each != nullptr; ++each) environment.push_back(*each);
  for (std::string& each : program_.environment) environment.push_back(each.data());
  environment.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int log = open((directory_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDERR_FILENO);
    // Where it is 3 already, dup2() would leave it to be closed by exec.
    if (to_daemon.get() == 3) fcntl(3, F_SETFD, 0);
    dup2(to_daemon.get(), 3);
    execve(argv[0], argv.data(), environment.data());
    perror("exec of counterd");
    _exit(127);
  }
  to_daemon.reset();
  const std::string line = read_line(ready.get());
  const Result<Endpoint> endpoint =
      parse_server(line.empty() ? line : line.substr(line.find(' ') + 1));
  if (!endpoint) throw std::runtime_error("counterd did not start: " + log());
  endpoint_ = *endpoint;
}

int DaemonProcess::stop() {
  ::kill(pid_, SIGTERM);
  return wait_for_end();
}

void DaemonProcess::kill_all() {
  // Stopped, it starts no more workers.
  ::kill(pid_, SIGSTOP);
  siginfo_t stopped{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED | WEXITED | WNOWAIT) < 0 &&
         errno == EINTR) {
  }
  const std::vector<pid_t> workers = children_of(pid_);
  for (const pid_t worker : workers) ::kill(worker, SIGKILL);
  ::kill(pid_, SIGKILL);
  wait_for_end();
  // Killed is not gone yet: the sockets are closed a little later.
  for (const pid_t worker : workers) {
    while (!is_gone(worker)) poll(nullptr, 0, 1);
  }
}

int DaemonProcess::wait_for_end() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

DaemonInfo DaemonProcess::info() const {
  setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  const Result<DaemonInfo> info = ask_daemon(endpoint_, {ControlCommand::kWorkers}, deadline);
  if (!info) throw std::runtime_error(info.error().message);
  return *info;
}

std::vector<pid_t> DaemonProcess::worker_pids() const {
  std::vector<pid_t> pids;
  for (const WorkerInfo& worker : info().workers) {
    if (worker.state == WorkerState::kReady) pids.push_back(worker.pid);
  }
  return pids;
}

std::string DaemonProcess::log() const {
  return contents_of(directory_ / "log");
}

}  // namespace counterd
