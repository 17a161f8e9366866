// A change of a counter that a command makes: counted once, however often it must be asked for.
#pragma once

#include <optional>
#include <string>

#include "cli/command.h"

namespace counterd {

// The option --key of a command that changes something.
void add_key_option(CLI::App& app, std::optional<std::string>& key);

// Makes the change under `key`, or under a fresh one, and asks again under the same key, with
// growing pauses, as long as nothing answers, the store is away or nobody knows the outcome, until
// the time of `globals` is up. Then kUnavailable says that nothing was applied, and kUnknown that
// it may have been, with the key to ask again with. Fills in the outcome; an Error unless it is
// kOk.
Result<void> change_counter(const Globals& globals, Step& step,
                            const std::optional<std::string>& key);

}  // namespace counterd
