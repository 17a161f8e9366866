// Lists of counters, page after page, in constant memory.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "cli/command.h"
#include "common/store/store.h"

namespace counterd {

using Rows = std::vector<ListPage::Row>;

inline constexpr std::int64_t kAllRows = std::numeric_limits<std::int64_t>::max();

// Hands the counters of `query`, whose limit is the page size, to `take`, page by page, at most
// `most` in all. Each page is an answer of its own with the full timeout of `globals`: a long list
// takes as long as it takes. An Error from `take` ends the listing and is returned.
Result<void> read_pages(const Globals& globals, ListQuery query, std::int64_t most,
                        const std::function<Result<void>(const Rows&)>& take);

}  // namespace counterd
