#include "cli/command.h"

#include <algorithm>
#include <iostream>

#include "common/counter_name.h"

namespace counterd {

Result<std::unique_ptr<Counters>> open_counters(const Globals& globals) {
  if (globals.store.url.empty()) return connect_to_server(globals.server);
  StoreOptions options = globals.store;
  using std::chrono::milliseconds;
  const auto left =
      std::chrono::ceil<milliseconds>(globals.deadline - std::chrono::steady_clock::now());
  options.timeout = std::clamp<milliseconds>(left, milliseconds(1), kMaxStoreTimeout);
  return use_store(options);
}

Result<std::string> name_or_default(const std::optional<std::string>& given) {
  if (!given) return std::string(kDefaultCounter);
  if (const Result<void> checked = check_counter_name(*given); !checked) return checked.error();
  return *given;
}

Error error_of(const Step& step) {
  const auto& [operation, outcome] = step;
  if (!outcome.detail.empty()) return {outcome.code, outcome.detail};
  const std::string name = "counter " + operation.name;
  if (outcome.code == Code::kMissing) return {outcome.code, name + " does not exist"};
  if (outcome.code == Code::kKeyReused) {
    return {outcome.code,
            name + " was changed in another way under this key; nothing was changed now"};
  }
  if (outcome.code == Code::kTooManyKeys) {
    return {outcome.code, name + " was not changed: the store knows as many keys as it may"};
  }
  return {outcome.code, name + " is " + std::to_string(outcome.value) + "; adding " +
                            std::to_string(operation.operand) +
                            " would leave the range of 64 bits; nothing was changed"};
}

void print_line(const Globals& globals, const std::string& line) {
  if (!globals.quiet) std::cout << line << '\n';
}

}  // namespace counterd
