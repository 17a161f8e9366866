#include "tests/redis_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "common/process.h"
#include "common/store/redis_connection.h"
#include "common/unique_fd.h"

namespace counterd {
namespace {

constexpr std::chrono::seconds kStartTimeout{20};
constexpr int kPollIntervalMs = 2;
constexpr int kStartAttempts = 5;  // another process may take the port that was found free

using Context = std::unique_ptr<redisContext, FreeRedisContext>;

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int find_free_port() {
  const UniqueFd probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!probe || bind(probe.get(), generic, size) != 0 ||
      getsockname(probe.get(), generic, &size) != 0) {
    fail("cannot find a free port");
  }
  return ntohs(address.sin_port);
}

std::string as_text(const redisReply& reply) {
  switch (reply.type) {
    case REDIS_REPLY_NIL:
      return "(nil)";
    case REDIS_REPLY_INTEGER:
      return std::to_string(reply.integer);
    case REDIS_REPLY_ARRAY: {
      std::string text;
      for (std::size_t i = 0; i < reply.elements; ++i) {
        text += (i == 0 ? "" : "\n") + as_text(*reply.element[i]);
      }
      return text;
    }
    default:
      return std::string(text_of(reply));
  }
}

std::string run_on(redisContext* context, const std::vector<std::string>& arguments) {
  std::vector<const char*> values;
  std::vector<std::size_t> lengths;
  for (const std::string& argument : arguments) {
    values.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  const RedisReply reply(static_cast<redisReply*>(
      redisCommandArgv(context, static_cast<int>(values.size()), values.data(), lengths.data())));
  if (!reply) throw std::runtime_error(std::string("redis: ") + context->errstr);
  return as_text(*reply);
}

Context connect_to(const std::string& path) {
  const timeval timeout{.tv_sec = 5, .tv_usec = 0};
  Context context(redisConnectUnixWithTimeout(path.c_str(), timeout));
  if (!context || context->err != 0) throw std::runtime_error("redis: cannot connect to " + path);
  redisSetTimeout(context.get(), timeout);
  return context;
}

}  // namespace

RedisServer::RedisServer(std::vector<std::string> arguments, Tcp tcp)
    : arguments_(std::move(arguments)), tcp_(tcp) {
  start();
}

RedisServer::~RedisServer() {
  kill();
}

void RedisServer::start() {
  for (int attempt = 1; attempt <= kStartAttempts; ++attempt) {
    // The same port after a restart, for clients that come back.
    if (tcp_ == Tcp::kYes && (port_ == 0 || attempt > 1)) port_ = find_free_port();
    if (try_to_start()) return;
  }
  throw std::runtime_error("redis-server does not start: " + log());
}

bool RedisServer::try_to_start() {
  spawn();
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (!answers()) {
    if (is_dead()) return false;
    if (std::chrono::steady_clock::now() >= deadline) {
      kill();
      return false;
    }
    poll(nullptr, 0, kPollIntervalMs);
  }
  return true;
}

void RedisServer::spawn() {
  unlink(socket_path().c_str());  // a killed server leaves it
  std::vector<std::string> words = {"redis-server",
                                    "--bind",
                                    "127.0.0.1",
                                    "--port",
                                    std::to_string(port_),
                                    "--unixsocket",
                                    socket_path(),
                                    "--dir",
                                    directory_.path(),
                                    "--logfile",
                                    directory_ / "redis.log",
                                    "--save",
                                    "",
                                    "--daemonize",
                                    "no"};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  std::vector<char*> argv = argv_of(words);

  int ends[2];  // tells that exec failed; closed by one that succeeds
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  const UniqueFd failure(ends[0]);
  UniqueFd report(ends[1]);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) execvp(argv[0], argv.data());
    const int number = errno;
    [[maybe_unused]] const ssize_t written = write(report.get(), &number, sizeof number);
    _exit(127);
  }
  report.reset();
  int number = 0;
  if (read(failure.get(), &number, sizeof number) == sizeof number) {
    end(SIGKILL);
    errno = number;
    fail("cannot start redis-server");
  }
}

bool RedisServer::is_dead() {
  if (pid_ != 0 && waitpid(pid_, nullptr, WNOHANG) == 0) return false;
  pid_ = 0;
  return true;
}

// NOAUTH and NOPERM are answers too; LOADING is none.
bool RedisServer::answers() const {
  try {
    return !run_on(connect_to(socket_path()).get(), {"PING"}).starts_with("LOADING");
  } catch (const std::runtime_error&) {
    return false;
  }
}

void RedisServer::stop() {
  resume();
  end(SIGTERM);
}

void RedisServer::kill() {
  end(SIGKILL);
}

void RedisServer::restart() {
  stop();
  start();
}

void RedisServer::pause() const {
  ::kill(pid_, SIGSTOP);
  // The signal has been sent when kill() returns, not yet obeyed.
  siginfo_t found{};
  if (waitid(P_PID, static_cast<id_t>(pid_), &found, WSTOPPED) != 0) fail("waitid");
}

void RedisServer::resume() const {
  if (pid_ != 0) ::kill(pid_, SIGCONT);
}

void RedisServer::end(int signal) {
  if (pid_ == 0) return;
  ::kill(pid_, signal);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

std::string RedisServer::log() const {
  return contents_of(directory_ / "redis.log");
}

std::string RedisServer::command(const std::vector<std::string>& arguments,
                                 const std::vector<std::string>& login) const {
  const Context context = connect_to(socket_path());
  if (!login.empty()) run_on(context.get(), login);
  return run_on(context.get(), arguments);
}

}  // namespace counterd
