#include "cli/command.h"
#include "cli/daemon.h"
#include "common/json.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

std::string line_of(const Globals& globals, const WorkerInfo& worker) {
  const std::string since = format_timestamp(worker.since_ms);
  const std::string state(name_of(worker.state));
  if (!globals.json) return std::to_string(worker.pid) + '\t' + state + '\t' + since;
  std::string line = "{";
  append_json_member(line, "pid", worker.pid);
  append_json_member(line, "slot", worker.slot);
  append_json_member(line, "state", state);
  append_json_member(line, "since", since);
  return line + "}";
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
