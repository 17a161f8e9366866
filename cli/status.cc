#include "cli/command.h"
#include "common/json.h"

namespace counterd {
namespace {

std::string json_of(const CountersStatus& status) {
  std::string line = "{";
  append_json_member(line, "place", status.place);
  append_json_member(line, "version", status.version);
  line += R"(,"store":)";
  if (!status.store) return line + "null}";
  line += '{';
  append_json_member(line, "engine", status.store->engine);
  append_json_member(line, "location", status.store->location);
  append_json_member(line, "durability", status.store->durability);
  if (!status.store->change_failure.empty()) {
    append_json_member(line, "change_failure", status.store->change_failure);
  }
  return line + "}}";
}

void print_text(const Globals& globals, const CountersStatus& status) {
  print_line(globals, "served by\t" + status.place + " (version " + status.version + ")");
  if (!status.store) return;
  print_line(globals, "store\t" + status.store->engine + " " + status.store->location);
  print_line(globals, "durability\t" + status.store->durability);
  if (status.store->change_failure.empty()) return;
  print_line(globals, "latest change\tfailed: " + status.store->change_failure);
}

}  // namespace

Run add_status(CLI::App&) {
  return [](const Globals& globals) -> Result<void> {
    Result<std::unique_ptr<Counters>> counters = open_counters(globals, globals.deadline);
    if (!counters) return counters.error();
    const Result<CountersStatus> status = (*counters)->status(globals.deadline);
    if (!status) return status.error();
    if (globals.json) {
      print_line(globals, json_of(*status));
    } else {
      print_text(globals, *status);
    }
    if (!status->store) return status->store.error();
    return {};
  };
}

}  // namespace counterd
