#include "cli/change.h"
#include "cli/command.h"
#include "common/number.h"

namespace counterd {

Run add_increment(CLI::App& app) {
  struct Options {
    std::optional<std::string> name, key;
    std::string by = "1";
  };
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter (default: count)")->type_name("NAME");
  app.add_option("--by", options->by, "what to add, may be negative (default: 1)")->type_name("N");
  add_key_option(app, options->key);
  return [options](const Globals& globals) -> Result<void> {
    const Result<std::string> name = name_or_default(options->name);
    if (!name) return name.error();
    const Result<std::int64_t> by = parse_int64(options->by, "--by");
    if (!by) return by.error();
    const Result<Outcome> outcome =
        change_counter(globals, {OperationKind::kIncrement, *name, *by}, options->key);
    if (!outcome) return outcome.error();
    const std::string value = std::to_string(outcome->value);
    print_line(globals, globals.json ? R"({"name":")" + *name + R"(","value":)" + value +
                                           R"(,"applied":)" + std::to_string(*by) + "}"
                                     : value);
    return {};
  };
}

}  // namespace counterd
