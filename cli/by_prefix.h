// A change of all counters whose names are below a prefix (is_below() of counter_name.h).
#pragma once

#include <functional>

#include "cli/command.h"
#include "common/operation.h"

namespace counterd {

// The action of a command that makes one change, by `one`, or with --prefix makes the change that
// `read` returns to each counter below it. Adds --prefix and --yes to `app`, which has "name" and
// "--key". The counters are changed in portions, each at once; those gone by then are not
// recreated. Asks on a terminal; elsewhere --yes is required. Prints how many were changed.
Run run_one_or_prefix(CLI::App& app, Run one, std::function<Result<Operation>()> read);

}  // namespace counterd
