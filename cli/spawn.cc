#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <thread>

#include "cli/command.h"
#include "cli/counterd_program.h"
#include "cli/daemon.h"
#include "cli/server_option.h"
#include "common/deadline.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/quote.h"
#include "common/state_directory.h"
#include "common/unique_fd.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;
using Words = std::vector<std::string>;

bool is_flag(const std::string& word, const std::string& flag) {
  return word == flag || word.starts_with(flag + "=");
}

// counterd's flags: those given, and what follows from counterctl's own options.
Result<Words> daemon_flags(const Globals& globals, Words flags) {
  const auto names = [&flags](const std::string& flag) {
    return std::ranges::any_of(flags, [&](const std::string& word) { return is_flag(word, flag); });
  };
  if (!flags.empty() && !flags.front().starts_with('-')) {
    return Error{Code::kUsage, "unexpected argument " + quote_for_people(flags.front()) +
                                   "; a number of workers is given as: --workers N"};
  }
  if (names("--check-config")) {
    return Error{Code::kUsage, "with --check-config counterd starts no daemon"};
  }
  if (names("--workers")) {
    return Error{Code::kUsage, "--workers has to stand before --, as in: spawn --workers 2"};
  }
  if (globals.server_given && !names("--listen") && !names("--config")) {
    flags.insert(flags.begin(), "--listen=" + to_string(globals.server));
  }
  return flags;
}

// Two spawns at once would both find no daemon: the second waits for the first here.
Result<UniqueFd> take_spawn_lock(const std::string& directory, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{10};
  const std::string path = directory + "/spawn.lock";
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) {
    return system_error(setup_code(errno), "cannot open " + path, errno,
                        kNameAnotherStateDirectory);
  }
  while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error(Code::kIo, "cannot lock " + path, errno);
    if (steady_clock::now() >= deadline) {
      return Error{Code::kUnavailable, "another spawn holds " + path + " (see lslocks)"};
    }
    std::this_thread::sleep_for(kPause);
  }
  return lock;
}

// Prints the daemon's URL, or with --json an object of it and `members`; `note` is for people.
void print_daemon(const Globals& globals, const std::string& url, const std::string& members,
                  const std::string& note) {
  std::string line = url;
  if (globals.json) {
    line = "{";
    append_json_member(line, "url", url);
    line += members + "}";
  }
  print_line(globals, line);
  if (!globals.quiet && !globals.json) print_message(note);
}

void print_started(const Globals& globals, const Started& started, const std::string& log_path) {
  std::string members;
  append_json_member(members, "pid", started.pid);
  append_json_member(members, "log", log_path);
  print_daemon(globals, started.url, members,
               "counterd is ready, pid " + std::to_string(started.pid) + ", log " + log_path);
}

// The first line in which settings differ, for people.
std::string difference(const Words& theirs, const Words& ours) {
  const auto [its, here] = std::mismatch(theirs.begin(), theirs.end(), ours.begin(), ours.end());
  return "there " + (its == theirs.end() ? "nothing more" : *its) + ", here " +
         (here == ours.end() ? "nothing more" : *here);
}

bool has_ready_worker(const DaemonInfo& daemon) {
  return std::ranges::find(daemon.workers, WorkerState::kReady, &WorkerInfo::state) !=
         daemon.workers.end();
}

// A daemon is running already: adds `workers` more, provided that it has the same settings, and
// waits until all serve; or, with 0, until one does.
Result<void> add_workers_to(const Globals& globals, const DaemonInfo& daemon, const Words& settings,
                            int workers) {
  const std::string url = to_url(globals.server);
  const std::string pid = std::to_string(daemon.pid);
  if (daemon.settings != settings) {
    return Error{Code::kConfig, "a daemon with other settings serves " + url + " already (pid " +
                                    pid + "): " + difference(daemon.settings, settings) +
                                    "; use it as it is, or end it first (counterctl stop" +
                                    server_option(globals.server) + ")"};
  }
  const int sum = std::min(daemon.wanted + workers, kMaxWorkers);
  const Result<DaemonInfo> serves =
      workers > 0 ? scale_daemon(globals, sum)
                  : wait_until(globals, daemon, has_ready_worker, "is not ready");
  if (!serves) return serves.error();
  std::string members;
  append_json_member(members, "pid", daemon.pid);
  append_json_member(members, "workers", sum);
  print_daemon(
      globals, url, members,
      "counterd serves already, pid " + pid + ", and has " + count_of_workers(sum) + " now");
  return {};
}

// The daemon that serves there, once one that is ending has ended.
Result<DaemonInfo> daemon_that_stays(const Endpoint& endpoint, Deadline deadline) {
  const Result<UniqueFd> daemon = find_daemon(endpoint, deadline);
  if (!daemon) return daemon.error();
  Result<DaemonInfo> info = ask_daemon(*daemon, {ControlCommand::kWorkers}, deadline);
  if (!info || !info->stopping) return info;
  if (wait_for_end(*daemon, deadline) != DaemonEnd::kNotYet) {
    return daemon_that_stays(endpoint, deadline);
  }
  return Error{Code::kOverloaded, "the daemon (pid " + std::to_string(info->pid) +
                                      ") is ending and has not ended yet"};
}

// Whether a daemon answers, and still does a moment later, if there is time to ask again: workers
// whose supervisor was killed answer until they notice.
bool stays_served(const Endpoint& endpoint, Deadline deadline) {
  constexpr std::chrono::milliseconds kMoment{200};
  if (!is_served(endpoint, deadline)) return false;
  if (steady_clock::now() + 2 * kMoment >= deadline) return true;
  std::this_thread::sleep_for(kMoment);
  return is_served(endpoint, deadline);
}

// Makes do with the daemon that serves already, and gives it `more` workers. False: there is none.
// `any`: makes do with one of any settings, also with one that answers over HTTP alone, without a
// control socket that this user could ask for them.
Result<bool> use_running(const Globals& globals, const Words& settings, int more, bool any) {
  const Endpoint& endpoint = globals.server;
  const bool is_any_port = !endpoint.is_unix() && endpoint.port == 0;
  if (is_any_port) return false;
  const Result<DaemonInfo> running = daemon_that_stays(endpoint, globals.deadline);
  if (running) {
    const Result<void> added =
        add_workers_to(globals, *running, any ? running->settings : settings, more);
    if (!added) return added.error();
    return true;
  }
  if (running.error().code == Code::kOverloaded) return running.error();
  if (!any || !stays_served(endpoint, globals.deadline)) return false;
  print_daemon(globals, to_url(endpoint), "",
               "counterd serves already, by no control socket of this user");
  return true;
}

// Whether a variable is a setting of the daemon; not if it tells where a cluster's service of the
// name counterd is, as Kubernetes does in each container.
bool is_setting(std::string_view variable) {
  return variable.starts_with("COUNTERD_") && !variable.starts_with("COUNTERD_SERVICE_") &&
         !variable.starts_with("COUNTERD_PORT");
}

// Whether the environment asks for settings of the daemon.
bool environment_has_settings() {
  for (const char* const* variable = environ; *variable != nullptr; ++variable) {
    if (is_setting(*variable)) return true;
  }
  return false;
}

// `workers`: 0 if no number was given, which means as many as counterd starts by itself, or one
// more if a daemon serves already.
Result<void> spawn(Globals globals, const Words& given, int workers, bool unless_running) {
  std::signal(SIGCHLD, SIG_DFL);  // left ignored by a caller, it loses how a child ended
  const Result<Words> flags = daemon_flags(globals, given);
  if (!flags) return flags.error();
  const Result<Words> settings = settings_of(*flags, globals.deadline);
  if (!settings) return settings.error();
  const Result<Endpoint> endpoint = endpoint_of(*settings);
  if (!endpoint) return endpoint.error();
  const Result<std::string> directory = make_state_directory();
  if (!directory) return directory.error();
  const Result<UniqueFd> lock = take_spawn_lock(*directory, globals.deadline);
  if (!lock) return lock.error();
  globals.server = *endpoint;
  const int more = unless_running ? 0 : std::max(workers, 1);
  // A daemon must be known to have the settings that are asked for.
  const bool any = unless_running && given.empty() && !environment_has_settings();
  const Result<bool> used = use_running(globals, *settings, more, any);
  if (!used) return used.error();
  if (*used) return {};
  std::string name = to_string(*endpoint);
  std::ranges::replace(name, '/', '-');
  const std::string log_path = *directory + "/" + name + ".log";
  const Result<Started> started = start_daemon(*flags, workers, log_path, globals.deadline);
  if (!started) {
    if (started.error().code != Code::kConfig) return started.error();
    // Another user's spawn, which has another lock, may have taken the address meanwhile.
    const Result<bool> theirs = use_running(globals, *settings, more, any);
    if (!theirs) return theirs.error();
    return *theirs ? Result<void>() : started.error();
  }
  print_started(globals, *started, log_path);
  return {};
}

}  // namespace

Run add_spawn(CLI::App& app) {
  struct Options {
    std::optional<std::string> workers;
    bool unless_running = false;
    Words flags;
  };
  auto options = std::make_shared<Options>();
  app.add_option("--workers", options->workers, "worker processes; or how many more")
      ->type_name("N");
  app.add_flag("--unless-running", options->unless_running,
               "start a daemon only where none serves, and leave one as it is");
  app.add_option("flags", options->flags, "after --: counterd's flags")->type_name("FLAG");
  return [options](const Globals& globals) -> Result<void> {
    Result<int> workers = 0;
    if (options->workers) workers = parse_workers(*options->workers, "--workers");
    if (!workers) return workers.error();
    return spawn(globals, options->flags, *workers, options->unless_running);
  };
}

}  // namespace counterd
