#include <cstdlib>
#include <iostream>

#include "common/calendar.h"
#include "common/log.h"
#include "common/number.h"
#include "common/process.h"
#include "daemon/options.h"
#include "daemon/supervisor.h"
#include "daemon/worker.h"

namespace counterd {
namespace {

int fail(const Error& error) {
  log_line(error.message);
  return code_info(error.code).exit_status;
}

int finish(const Finished& finished) {
  std::cout << finished.text << std::flush;
  if (!std::cout) return fail({Code::kIo, "cannot write to standard output"});
  return finished.exit_status;
}

int run(int argc, const char* const* argv) {
  Result<std::variant<DaemonOptions, Finished>> options = read_options(argc, argv);
  if (!options) return fail(options.error());
  if (const auto* finished = std::get_if<Finished>(&*options)) return finish(*finished);
  auto& daemon = std::get<DaemonOptions>(*options);
  if (daemon.check_only) {
    std::string text = "workers = " + std::to_string(daemon.workers) + "\n";
    for (const std::string& line : daemon.settings) text += line + "\n";
    return finish({text, 0});
  }
  // One time zone for all workers, whenever they start; if it has no name, they report that.
  if (const Result<std::string> timezone = system_timezone()) {
    setenv("TZ", timezone->c_str(), /*overwrite=*/1);
  }
  Result<Supervisor> supervisor = Supervisor::open(std::move(daemon));
  if (!supervisor) return fail(supervisor.error());
  return supervisor->run();
}

}  // namespace
}  // namespace counterd

int main(int argc, char** argv) {
  counterd::set_up_process();
  // How the supervisor starts a worker: see daemon/worker.h.
  // An exception there ends the worker, and the supervisor replaces it.
  if (argc == 4 && std::string_view(argv[1]) == "worker") {
    const auto slot = counterd::parse_int64_within(argv[2], "slot", 0, 65'535);
    const auto sockets = counterd::parse_int64_within(argv[3], "sockets", 0, 65'535);
    if (slot && sockets) {
      return counterd::run_worker(static_cast<int>(*slot), static_cast<int>(*sockets));
    }
  }
  try {
    return counterd::run(argc, argv);
  } catch (const std::exception& exception) {  // can only be out of memory
    return counterd::fail({counterd::Code::kIo, exception.what()});
  }
}
