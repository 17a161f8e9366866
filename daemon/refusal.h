// What HTTP says of an operation that was not applied.
#pragma once

#include <string>

#include "common/operation.h"
#include "daemon/response.h"

namespace counterd {

// The problem document (RFC 9457) of an outcome other than kOk: with where in its group it was
// refused (`index`), what append_bound() of outcome_json.h adds, and the counter's window.
std::string refusal_document(const Operation& operation, const Outcome& outcome);

// The response that consists of it, with the fields that say when to ask again where a bound
// refuses the operation until its window ends.
Response refusal(const Operation& operation, const Outcome& outcome);

}  // namespace counterd
