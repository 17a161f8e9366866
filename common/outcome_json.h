// The outcome of an operation on one counter as JSON: what HTTP answers and what --json prints.
#pragma once

#include <string>

#include "common/operation.h"

namespace counterd {

// Appends the object of an outcome that is kOk, or of an increment that a bound has refused, whose
// `applied` is 0:
//   increment  name, value, applied, and how much more its bound allows (remaining, where there is
//              a bound in its direction) and when its window ends (resets_at, where it has one)
//   reset      name, value, previous
//   delete     name, previous
//   report     name, value, created_at, updated_at, expires_at
// `previous` is null where the counter was missing, `expires_at` where it has no end.
void append_outcome_json(std::string& out, const Operation& operation, const Outcome& outcome);

// Appends, each with a comma before it, the members of an increment that its bound refused:
// `value`, `bound`, `would_be`, and `remaining` and `resets_at` as above; nothing after another
// outcome.
void append_bound(std::string& out, const Operation& operation, const Outcome& outcome);

// The one number that stands for the outcome where there is no JSON: the value before a reset or a
// delete, after anything else. REQUIRES: the outcome is kOk
std::int64_t plain_value(const Operation& operation, const Outcome& outcome);

}  // namespace counterd
