#include "cli/by_prefix.h"
#include "cli/change.h"
#include "cli/operations.h"

namespace counterd {

OperationWords add_reset_words(CLI::App& app) {
  OperationWords words(app, OperationKind::kReset);
  words.add_option("--to", "N", "the new value (default: 0)");
  return words;
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
