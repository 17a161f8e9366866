// Idempotency keys: what makes a change that is asked for again the same change.
#pragma once

#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

// The key that the value of an Idempotency-Key field, or of --key, names: 1 to kMaxKeyLength
// visible ASCII characters and spaces, with or without quotation marks around it, within which a
// backslash stands before a quotation mark or another backslash (a string of RFC 9651, 3.3.3). Both
// forms of a key are the same key. kBadKey for anything else.
Result<std::string> parse_idempotency_key(std::string_view text);

// The key in quotation marks, as parse_idempotency_key() reads it: what is in it cannot end it.
std::string quote_idempotency_key(std::string_view key);

}  // namespace counterd
