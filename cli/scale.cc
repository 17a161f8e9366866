#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/daemon.h"
#include "common/number.h"

namespace counterd {

Run add_scale(CLI::App& app) {
  auto number = std::make_shared<std::optional<std::string>>();
  app.add_option("workers", *number, "the number of workers, 1 to 256")->type_name("N");
  return [number](const Globals& globals) -> Result<void> {
    if (!*number) return Error{Code::kUsage, "the number of workers is missing"};
    const Result<int> workers = parse_workers(**number, "number of workers");
    if (!workers) return workers.error();
    const Result<DaemonInfo> info = scale_daemon(globals, *workers);
    if (!info) return info.error();
    const std::string count = std::to_string(*workers);
    print_line(globals, globals.json ? R"({"workers":)" + count + "}" : count);
    return {};
  };
}

}  // namespace counterd
