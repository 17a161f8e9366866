#include "cli/change.h"
#include "cli/command.h"
#include "common/number.h"

namespace counterd {
namespace {

struct Options {
  std::optional<std::string> name, key, min, max;
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

std::string to_json(const Step& step) {
  const auto& [operation, outcome] = step;
  const std::int64_t applied = outcome.code == Code::kOk ? applied_by(operation, outcome) : 0;
  const std::optional<std::uint64_t> left = remaining(operation, outcome.value);
  return R"({"name":")" + operation.name + R"(","value":)" + std::to_string(outcome.value) +
         R"(,"applied":)" + std::to_string(applied) +
         (left ? R"(,"remaining":)" + std::to_string(*left) : "") + "}";
}

Result<void> increment(const Options& options, const Globals& globals) {
  const Result<std::string> name = name_or_default(options.name);
  if (!name) return name.error();
  const Result<std::int64_t> by = parse_int64(options.by, "--by");
  if (!by) return by.error();
  const Result<Bounds> bounds = read_bounds(options);
  if (!bounds) return bounds.error();
  Step step{{OperationKind::kIncrement, *name, *by, 0, *bounds}, {}};
  Result<void> changed = change_counter(globals, step, options.key);
  // What a bound refuses is an answer too.
  const bool refused = !changed && changed.error().code == Code::kBeyondBound;
  if (globals.json && (changed || refused)) print_line(globals, to_json(step));
  if (!globals.json && changed) print_line(globals, std::to_string(step.outcome.value));
  return changed;
}

}  // namespace

Run add_increment(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter (default: count)")->type_name("NAME");
  app.add_option("--by", options->by, "what to add, may be negative (default: 1)")->type_name("N");
  app.add_option("--min", options->min, "refuse to leave it below (status 1)")->type_name("N");
  app.add_option("--max", options->max, "refuse to leave it above (status 1)")->type_name("N");
  app.add_flag("--clamp", options->clamp, "add as much as the bound allows in place of refusing");
  add_key_option(app, options->key);
  return [options](const Globals& globals) { return increment(*options, globals); };
}

}  // namespace counterd
