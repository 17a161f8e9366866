#include "cli/change.h"
#include "cli/command.h"
#include "common/number.h"

namespace counterd {

Run add_reset(CLI::App& app) {
  struct Options {
    std::optional<std::string> name, key;
    std::string to = "0";
  };
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter (default: count)")->type_name("NAME");
  app.add_option("--to", options->to, "the new value (default: 0)")->type_name("N");
  add_key_option(app, options->key);
  return [options](const Globals& globals) -> Result<void> {
    const Result<std::string> name = name_or_default(options->name);
    if (!name) return name.error();
    const Result<std::int64_t> to = parse_int64(options->to, "--to");
    if (!to) return to.error();
    Step step{{OperationKind::kReset, *name, *to}, {}};
    Result<void> changed = change_counter(globals, step, options->key);
    if (!changed) return changed;
    const Outcome& outcome = step.outcome;
    const std::string previous = outcome.previous ? std::to_string(*outcome.previous) : "null";
    print_line(globals, globals.json ? R"({"name":")" + *name + R"(","value":)" +
                                           std::to_string(*to) + R"(,"previous":)" + previous + "}"
                                     : std::to_string(outcome.previous.value_or(0)));
    return {};
  };
}

}  // namespace counterd
