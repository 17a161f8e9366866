#include "cli/pages.h"

#include <algorithm>

namespace counterd {

Result<void> read_pages(const Globals& globals, ListQuery query, std::int64_t most,
                        const std::function<Result<void>(const Rows&)>& take) {
  Deadline deadline = std::chrono::steady_clock::now() + globals.timeout;
  Result<std::unique_ptr<Counters>> counters = open_counters(globals, deadline);
  if (!counters) return counters.error();
  do {
    query.limit = std::min(static_cast<std::size_t>(most), query.limit);
    const Result<ListPage> page = (*counters)->list(query, deadline);
    if (!page) return page.error();
    if (Result<void> taken = take(page->rows); !taken) return taken;
    most -= static_cast<std::int64_t>(page->rows.size());
    query.after = page->next;
    deadline = std::chrono::steady_clock::now() + globals.timeout;
  } while (most > 0 && !query.after.empty());
  return {};
}

}  // namespace counterd
