// Unique identifiers.
#pragma once

#include <string>

#include "common/error.h"

namespace counterd {

// A UUID of version 7 (RFC 9562, 5.7): the present time and 74 random bits of the system. Those of
// one time are neighbours in an index, which random ones are not. kIo: the system gives no random
// bits.
Result<std::string> make_uuid();

}  // namespace counterd
