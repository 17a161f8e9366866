#include <CLI/CLI.hpp>

#include "cli/change.h"
#include "cli/operations.h"
#include "common/json.h"
#include "common/number.h"

namespace counterd {
namespace {

struct Options {
  std::optional<std::string> name, min, max, ttl, ttl_mode, per, timezone;
  std::string by = "1";
  bool clamp = false;
  bool check = false;
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

Result<std::optional<Window>> read_window(const Options& options) {
  if (!options.per) {
    if (!options.timezone) return std::optional<Window>();
    return Error{Code::kUsage, "--timezone needs --per"};
  }
  if (options.ttl) return Error{Code::kUsage, "--ttl and --per exclude each other"};
  const Result<Period> period = parse_period(*options.per);
  if (!period) return Error{Code::kUsage, "--per " + period.error().message};
  if (!options.timezone) return std::optional(Window{*period});
  const Result<void> form = check_timezone_form(*options.timezone);
  if (!form) return Error{Code::kUsage, "--timezone " + form.error().message};
  return std::optional(Window{*period, *options.timezone});
}

Result<Lifetime> read_lifetime(const Options& options) {
  Lifetime lifetime;
  Result<std::optional<Window>> window = read_window(options);
  if (!window) return window.error();
  lifetime.window = std::move(*window);
  if (options.ttl) {
    const Result<std::chrono::milliseconds> ttl = parse_duration(*options.ttl, "--ttl");
    if (!ttl) return ttl.error();
    lifetime.ttl = *ttl;
  }
  if (!options.ttl_mode) return lifetime;
  lifetime.renew = options.ttl_mode == "renew";
  if (!lifetime.renew && options.ttl_mode != "create") {
    return Error{Code::kUsage,
                 "--ttl-mode is create or renew, not " + quote_for_people(*options.ttl_mode)};
  }
  if (!lifetime.ttl) return Error{Code::kUsage, "--ttl-mode needs --ttl"};
  return lifetime;
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
  const Result<Lifetime> lifetime = read_lifetime(options);
  if (!lifetime) return lifetime.error();
  operation->lifetime = *lifetime;
  operation->check = options.check;
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
  app.add_option("--ttl", options->ttl, "how long the counter lives, as 90s, 15m, 1h or 7d")
      ->type_name("TIME");
  app.add_option("--ttl-mode", options->ttl_mode,
                 "from when it is made, or from each increment (default: create)")
      ->type_name("create|renew");
  app.add_option("--per", options->per, "begin anew each minute, hour, day, week, month or year")
      ->type_name("PERIOD");
  app.add_option("--timezone", options->timezone,
                 "whose calendar that is, as Europe/Berlin (default: the server's)")
      ->type_name("ZONE");
  app.add_flag("--check", options->check, "only ask whether it would be allowed (status 0 or 1)");
  return words_of(std::move(options), read_increment);
}

Run add_increment(CLI::App& app) {
  return run_change(add_increment_words(app), app);
}

}  // namespace counterd
