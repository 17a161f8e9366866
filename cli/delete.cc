#include "cli/by_prefix.h"
#include "cli/change.h"
#include "cli/operations.h"

namespace counterd {

Run add_delete(CLI::App& app) {
  Run one = run_change(OperationWords(app, OperationKind::kDelete), app);
  return run_one_or_prefix(app, std::move(one),
                           []() -> Result<Operation> { return Operation{OperationKind::kDelete}; });
}

}  // namespace counterd
