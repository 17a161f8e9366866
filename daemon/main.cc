#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string_view>

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
  log_warning(error.message);
  return code_info(error.code).exit_status;
}

int print(const std::string& text) {
  errno = 0;
  std::cout << text << std::flush;
  return std::cout ? 0 : fail(system_error(Code::kIo, "cannot write to standard output", errno));
}

int run(int argc, const char* const* argv) {
  Result<std::variant<DaemonOptions, std::string>> read = read_options(argc, argv);
  if (!read) return fail(read.error());
  if (const auto* text = std::get_if<std::string>(&*read)) return print(*text);
  auto& options = std::get<DaemonOptions>(*read);
  // One time zone for all workers, whenever they start; if it has no name, they report that.
  if (const Result<std::string> timezone = system_timezone()) {
    setenv("TZ", timezone->c_str(), /*overwrite=*/1);
  }
  Result<Supervisor> supervisor = Supervisor::open(std::move(options));
  if (!supervisor) return fail(supervisor.error());
  return supervisor->run();
}

// Nothing: the command line is not that by which the supervisor starts a worker (worker_process.h).
// An exception ends the worker, and the supervisor replaces it.
std::optional<int> run_as_worker(int argc, const char* const* argv) {
  if (argc != 4 || std::string_view(argv[1]) != "worker") return std::nullopt;
  const auto slot = parse_int64_within(argv[2], "slot", 0, 65'535);
  const auto sockets = parse_int64_within(argv[3], "sockets", 0, 65'535);
  if (!slot || !sockets) return std::nullopt;
  return run_worker(static_cast<int>(*slot), static_cast<int>(*sockets));
}

}  // namespace
}  // namespace counterd

int main(int argc, char** argv) {
  counterd::set_up_process();
  if (const std::optional<int> status = counterd::run_as_worker(argc, argv)) return *status;
  try {
    return counterd::run(argc, argv);
  } catch (const std::exception& exception) {  // can only be out of memory
    return counterd::fail({counterd::Code::kIo, exception.what()});
  }
}
