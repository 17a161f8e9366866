#include <CLI/CLI.hpp>

#include "cli/by_prefix.h"
#include "cli/change.h"
#include "cli/operations.h"
#include "common/number.h"

namespace counterd {
namespace {

struct Options {
  std::optional<std::string> name;
  std::string to = "0";
};

Result<Operation> read_reset(const Options& options) {
  Result<Operation> operation = operation_on(OperationKind::kReset, options.name);
  if (!operation) return operation;
  const Result<std::int64_t> to = parse_int64(options.to, "--to");
  if (!to) return to.error();
  operation->operand = *to;
  return operation;
}

}  // namespace

OperationWords add_reset_words(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter (default: count)")->type_name("NAME");
  app.add_option("--to", options->to, "the new value (default: 0)")->type_name("N");
  return words_of(std::move(options), read_reset);
}

Run add_reset(CLI::App& app) {
  const OperationWords words = add_reset_words(app);
  return run_one_or_prefix(app, run_change(words, app), [words] {
    Result<Operation> each = words.read();
    if (each) each->create = false;
    return each;
  });
}

}  // namespace counterd
