#include "cli/change.h"
#include "cli/operations.h"
#include "common/number.h"

namespace counterd {
namespace {

struct Options {
  std::optional<std::string> name, min, max;
  std::string by = "1";
  bool clamp = false;
};

Result<void> read_bound(const std::optional<std::string>& text, std::string_view flag,
                        std::optional<std::int64_t>& bound) {
  if (!text) return {};
  const Result<std::int64_t> number = parse_int64(*text, flag);
  if (!number) return number.error();
  bound = *number;
  return {};
}

Result<Bounds> read_bounds(const Options& options) {
  Bounds bounds;
  bounds.clamp = options.clamp;
  if (const auto min = read_bound(options.min, "--min", bounds.min); !min) return min.error();
  if (const auto max = read_bound(options.max, "--max", bounds.max); !max) return max.error();
  const Result<void> checked = check_bounds(bounds);
  if (!checked) return Error{Code::kUsage, checked.error().message};
  return bounds;
}

Result<Operation> read_increment(const Options& options) {
  Result<Operation> operation = operation_on(OperationKind::kIncrement, options.name);
  if (!operation) return operation;
  const Result<std::int64_t> by = parse_int64(options.by, "--by");
  if (!by) return by.error();
  operation->operand = *by;
  const Result<Bounds> bounds = read_bounds(options);
  if (!bounds) return bounds.error();
  operation->bounds = *bounds;
  return operation;
}

}  // namespace

OperationWords add_increment_words(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter (default: count)")->type_name("NAME");
  app.add_option("--by", options->by, "what to add, may be negative (default: 1)")->type_name("N");
  app.add_option("--min", options->min, "refuse to leave it below (status 1)")->type_name("N");
  app.add_option("--max", options->max, "refuse to leave it above (status 1)")->type_name("N");
  app.add_flag("--clamp", options->clamp, "add as much as the bound allows in place of refusing");
  return words_of(std::move(options), read_increment);
}

Run add_increment(CLI::App& app) {
  return run_change(add_increment_words(app), app);
}

}  // namespace counterd
