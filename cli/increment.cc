#include "cli/change.h"
#include "cli/operations.h"

namespace counterd {

OperationWords add_increment_words(CLI::App& app) {
  OperationWords words(app, OperationKind::kIncrement);
  words.add_option("--by", "N", "what to add, may be negative (default: 1)");
  words.add_option("--min", "N", "refuse a sum below this (status 1)");
  words.add_option("--max", "N", "refuse a sum above this (status 1)");
  words.add_flag("--clamp", "on_limit", "clamp",
                 "add as much as the bound allows in place of refusing");
  words.add_option("--ttl", "TIME", "how long the counter lives, as 90s, 15m, 1h or 7d");
  words.add_option("--ttl-mode", "create|renew",
                   "from when it is made, or from each increment (default: create)");
  words.add_option("--per", "PERIOD", "begin anew each minute, hour, day, week, month or year");
  words.add_option("--timezone", "ZONE",
                   "whose calendar that is, as Europe/Berlin (default: the daemon's)");
  words.add_flag("--check", "check", "true",
                 "only ask whether it would be allowed (status 0 or 1)");
  return words;
}

Run add_increment(CLI::App& app) {
  return run_change(add_increment_words(app), app);
}

}  // namespace counterd
