#include "cli/by_prefix.h"
#include "cli/change.h"
#include "cli/operations.h"

namespace counterd {
namespace {

using Name = std::optional<std::string>;

// No default: what is deleted is named.
Result<Operation> read_delete(const Name& name) {
  if (!name) return Error{Code::kUsage, "the name of the counter is missing"};
  return operation_on(OperationKind::kDelete, name);
}

Result<Operation> delete_of_each() {
  Operation operation;
  operation.kind = OperationKind::kDelete;
  return operation;
}

}  // namespace

OperationWords add_delete_words(CLI::App& app) {
  auto name = std::make_shared<Name>();
  app.add_option("name", *name, "the counter")->type_name("NAME");
  return words_of(std::move(name), read_delete);
}

Run add_delete(CLI::App& app) {
  Run one = run_change(add_delete_words(app), app);
  return run_one_or_prefix(app, std::move(one), delete_of_each);
}

}  // namespace counterd
