// The names of counters: [A-Za-z0-9][A-Za-z0-9._:-]{0,127}. Every other file may rely on a name
// needing no escaping in a URL path, in JSON, in a shell and in a store's key.
#pragma once

#include <string_view>

#include "common/error.h"

namespace counterd {

// The counter of the seed paths and of a command without a name; reads as 0 when it is missing.
inline constexpr std::string_view kDefaultCounter = "count";

// kBadName, with the rule in its message, unless `name` is a counter name.
Result<void> check_counter_name(std::string_view name);

// The same for a prefix of names, which may also be empty. kBadParameter.
Result<void> check_name_prefix(std::string_view prefix);

// Whether `name` is `prefix` or continues it at a name boundary, one of '.', '_', ':' and '-':
// "web" and "web:de" are below the prefix "web", and "webshop" is not. A prefix may end with the
// boundary.
bool is_below(std::string_view name, std::string_view prefix);

}  // namespace counterd
