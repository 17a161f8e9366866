#include "cli/command.h"

namespace counterd {

Run add_delete(CLI::App& app) {
  auto given = std::make_shared<std::string>();
  app.add_option("name", *given, "the counter")->type_name("NAME")->required();
  return [given](const Globals& globals) -> Result<void> {
    const Result<std::string> name = name_or_default(*given);
    if (!name) return name.error();
    const Result<Outcome> outcome = run_operation(globals, {OperationKind::kDelete, *name, 0});
    if (!outcome) return outcome.error();
    const std::string value = std::to_string(outcome->value);
    print_line(globals,
               globals.json ? R"({"name":")" + *name + R"(","previous":)" + value + "}" : value);
    return {};
  };
}

}  // namespace counterd
