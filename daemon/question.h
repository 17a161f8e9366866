// What a request asks of the store, and what the store answers.
#pragma once

#include <variant>

#include "common/error.h"
#include "common/operation.h"
#include "common/store/store.h"

namespace counterd {

struct Probe {};    // does the store answer?
struct Nothing {};  // no question to the store

using Question = std::variant<Operation, ListQuery, Probe, Nothing>;

// The alternative at the same place as the question's.
using Answer = std::variant<Step, Result<ListPage>, Result<StoreStatus>, Nothing>;

}  // namespace counterd
