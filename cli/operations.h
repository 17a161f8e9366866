// The commands that are one operation on one counter: what their words mean, on the command line
// and in the lines of `batch`, and how their outcome is printed.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "common/error.h"
#include "common/operation.h"
#include "common/operation_text.h"

namespace counterd {

// The words of such a command, as options of an app.
class OperationWords {
 public:
  // Adds the counter's name to `app`, which must outlive this object. A kDelete and a kReport need
  // it, for others it defaults to kDefaultCounter.
  OperationWords(CLI::App& app, OperationKind kind);

  // Adds an option: its value is that of the parameter with the same name (operation_text.h).
  void add_option(const std::string& option, const char* type, const char* help);
  // Adds a flag that sets `parameter` to `value`.
  void add_flag(const std::string& flag, const char* parameter, const char* value,
                const char* help);

  // The operation that the parsed words describe. kUsage, kBadName, kBadNumber.
  Result<Operation> read() const;
  // Resets all options to what they are without any words, so that the app can parse others.
  void forget();

 private:
  struct Given {
    std::optional<std::string> name;
    Parameters parameters;
  };

  CLI::App* app_;
  OperationKind kind_;
  std::shared_ptr<Given> given_;  // what the app writes to
};

OperationWords add_increment_words(CLI::App& app);
OperationWords add_reset_words(CLI::App& app);

// What is printed of an outcome that is kOk, or, as JSON, of an increment that a bound has refused:
// the JSON object, or the plain value.
std::string outcome_line(const Globals& globals, const Operation& operation,
                         const Outcome& outcome);
// The same where there are several: the plain value comes after the counter's name and a tab.
std::string named_outcome_line(const Globals& globals, const Operation& operation,
                               const Outcome& outcome);

}  // namespace counterd
