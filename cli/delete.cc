#include "cli/change.h"
#include "cli/command.h"

namespace counterd {

Run add_delete(CLI::App& app) {
  struct Options {
    std::string name;
    std::optional<std::string> key;
  };
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter")->type_name("NAME")->required();
  add_key_option(app, options->key);
  return [options](const Globals& globals) -> Result<void> {
    const Result<std::string> name = name_or_default(options->name);
    if (!name) return name.error();
    Step step{{OperationKind::kDelete, *name, 0}, {}};
    Result<void> changed = change_counter(globals, step, options->key);
    if (!changed) return changed;
    const Outcome& outcome = step.outcome;
    const std::string value = std::to_string(outcome.value);
    print_line(globals,
               globals.json ? R"({"name":")" + *name + R"(","previous":)" + value + "}" : value);
    return {};
  };
}

}  // namespace counterd
