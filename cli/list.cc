#include "cli/command.h"
#include "common/counter_name.h"
#include "common/limits.h"

namespace counterd {

Run add_list(CLI::App& app) {
  auto prefix = std::make_shared<std::string>();
  app.add_option("--prefix", *prefix, "only names that begin with it")->type_name("PREFIX");
  return [prefix](const Globals& globals) -> Result<void> {
    if (const Result<void> checked = check_name_prefix(*prefix); !checked) {
      return Error{Code::kBadName, checked.error().message};
    }
    Result<std::unique_ptr<Counters>> counters = open_counters(globals);
    if (!counters) return counters.error();
    ListQuery query{*prefix, "", kMaxListLimit};
    // Each page is an answer of its own: a long list takes as long as it takes.
    Deadline deadline = globals.deadline;
    do {
      const Result<ListPage> page = (*counters)->list(query, deadline);
      if (!page) return page.error();
      for (const auto& [name, value] : page->rows) {
        print_line(globals, globals.json ? R"({"name":")" + name + R"(","value":)" +
                                               std::to_string(value) + "}"
                                         : name + '\t' + std::to_string(value));
      }
      query.after = page->next;
      deadline = std::chrono::steady_clock::now() + globals.timeout;
    } while (!query.after.empty());
    return {};
  };
}

}  // namespace counterd
