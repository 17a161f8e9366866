#include "cli/change.h"
#include "cli/operations.h"

namespace counterd {

OperationWords add_delete_words(CLI::App& app) {
  auto name = std::make_shared<std::optional<std::string>>();
  app.add_option("name", *name, "the counter")->type_name("NAME")->required();
  return words_of<std::optional<std::string>>(std::move(name),
                                              [](const std::optional<std::string>& given) {
                                                return operation_on(OperationKind::kDelete, given);
                                              });
}

Run add_delete(CLI::App& app) {
  return run_change(add_delete_words(app), app);
}

}  // namespace counterd
