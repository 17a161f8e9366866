#include "cli/command.h"
#include "cli/daemon.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

std::string line_of(const Globals& globals, const WorkerInfo& worker) {
  const std::string pid = std::to_string(worker.pid);
  const std::string since = format_timestamp(worker.since_ms);
  const std::string state(name_of(worker.state));
  if (!globals.json) return pid + '\t' + state + '\t' + since;
  return R"({"pid":)" + pid + R"(,"slot":)" + std::to_string(worker.slot) + R"(,"state":")" +
         state + R"(","since":")" + since + R"("})";
}

}  // namespace

Run add_workers(CLI::App&) {
  return [](const Globals& globals) -> Result<void> {
    const Result<DaemonInfo> info = ask(globals, {ControlCommand::kWorkers});
    if (!info) return info.error();
    for (const WorkerInfo& worker : info->workers) print_line(globals, line_of(globals, worker));
    return {};
  };
}

}  // namespace counterd
