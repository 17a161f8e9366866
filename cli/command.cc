#include "cli/command.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iostream>

#include "common/counter_name.h"
#include "common/environment.h"
#include "common/quote.h"

namespace counterd {

Result<std::unique_ptr<Counters>> open_counters(const Globals& globals, Deadline deadline) {
  if (globals.store.url.empty()) return counters_of_server(globals.server);
  StoreOptions options = globals.store;
  using std::chrono::milliseconds;
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
  options.timeout = std::clamp<milliseconds>(left, milliseconds(1), kMaxStoreTimeout);
  options.key_reserve = longest_hold_up(options.timeout);
  return counters_of_store(options);
}

Result<std::string> name_or_default(const std::optional<std::string>& given) {
  if (!given) return std::string(kDefaultCounter);
  if (const Result<void> checked = check_counter_name(*given); !checked) return checked.error();
  return *given;
}

Error error_of(const Step& step) {
  return {step.outcome.code, explain(step.operation, step.outcome)};
}

void print_line(const Globals& globals, const std::string& line) {
  if (!globals.quiet) std::cout << line << '\n';
}

// A dumb terminal, as in an editor, shows what clears a line as it is.
bool shows_progress(const Globals& globals) {
  return !globals.quiet && isatty(STDERR_FILENO) == 1 && environment("TERM") != "dumb";
}

void print_message(const std::string& message) {
  std::cerr << "counterctl: " + escape_controls(message, "\n") + '\n';
}

Result<void> flush_output() {
  if (std::cout.flush()) return {};
  return system_error(Code::kIo, "cannot write to standard output", errno);
}

}  // namespace counterd
