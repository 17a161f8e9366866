// The lines that `counterctl batch` reads: one operation each.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <istream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/operations.h"
#include "common/error.h"
#include "common/operation.h"

namespace counterd {

// Lines, and the operations that they hold, in order.
struct Portion {
  Operation group;                 // kEach; its members are those of `lines`
  std::vector<std::size_t> lines;  // their numbers, from 1
  bool is_last = false;            // nothing follows it
};

class BatchLines {
 public:
  // `name` names the input for people. Lines before `from` are skipped.
  BatchLines(std::istream& input, std::string name, std::size_t from);

  // The next operations, up to `size`. A line holds the words of increment, reset, delete or report
  // as on the command line, though the last two require a name, or a JSON object as in HTTP's
  // batch; empty lines and comments are ignored. After an Error nothing more can be read: a line is
  // none of these or is longer than kMaxLineBytes, and the message names it; or the input ends
  // before the line in front of `from`; or, with kIo, it cannot be read.
  Result<Portion> next(std::size_t size);

  // "NAME:LINE"
  std::string place(std::size_t line) const;

 private:
  struct Command {
    std::unique_ptr<CLI::App> app;
    OperationWords words;
  };

  void add(OperationKind kind, OperationWords (*add_words)(CLI::App& app));
  Result<bool> read_line();
  Result<void> take_line(Portion& portion);
  Result<std::optional<Operation>> read_object() const;
  Result<std::optional<Operation>> read_words();
  static Result<Operation> parse(Command& command, std::vector<std::string> words);

  std::istream& input_;
  const std::string name_;
  const std::size_t from_;
  std::map<OperationKind, Command> commands_;
  std::vector<char> buffer_;
  std::string_view line_;
  std::size_t number_ = 0;
};

}  // namespace counterd
