// The commands that are one operation on one counter: what their words say, on the command line and
// in the lines of `batch`, and what is printed of their outcome.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/error.h"
#include "common/operation.h"

namespace counterd {

// The options of such a command, which were added to an app.
struct OperationWords {
  // The operation that the words say which the app has parsed.
  std::function<Result<Operation>()> read;
  // Makes all options what they are without any words, so that the app can parse others.
  std::function<void()> forget;
};

// Those of an app whose options have their texts in `options`.
template <class Options>
OperationWords words_of(std::shared_ptr<Options> options,
                        Result<Operation> (*read)(const Options& options)) {
  return {[options, read] { return read(*options); }, [options] { *options = Options(); }};
}

// The operation on the counter of that name, checked, or on kDefaultCounter.
Result<Operation> operation_on(OperationKind kind, const std::optional<std::string>& name);

// The same, where a name must be given. kUsage: it is not.
Result<Operation> operation_on_named(OperationKind kind, const std::optional<std::string>& name);

OperationWords add_increment_words(CLI::App& app);
OperationWords add_reset_words(CLI::App& app);

// Of a command that has nothing but a name, which must be given.
template <OperationKind kind>
OperationWords add_named_words(CLI::App& app) {
  using Name = std::optional<std::string>;
  auto name = std::make_shared<Name>();
  app.add_option("name", *name, "the counter")->type_name("NAME");
  return words_of<Name>(std::move(name),
                        [](const Name& given) { return operation_on_named(kind, given); });
}

// The number that is printed: of a reset or a delete the value before.
// REQUIRES: the outcome is kOk
std::int64_t printed_value(const Operation& operation, const Outcome& outcome);

// The outcome as a JSON object; of an increment, also one that a bound has refused.
std::string json_line(const Operation& operation, const Outcome& outcome);

}  // namespace counterd
