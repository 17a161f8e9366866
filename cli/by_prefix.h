// A change of all counters whose names are below a prefix (is_below() of counter_name.h).
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"
#include "common/operation.h"

namespace counterd {

// What a command does that makes one change or, with --prefix, the change that `read` tells of each
// counter below it; `one` is the former. Adds --prefix and --yes to `app`, which has "name" and
// "--key". The counters are changed in portions, each at once; those that are gone by then are not
// made again. Asks on a terminal; elsewhere --yes is needed. Prints how many were changed.
Run run_one_or_prefix(CLI::App& app, Run one, std::function<Result<Operation>()> read);

}  // namespace counterd
