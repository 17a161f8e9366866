#include "cli/batch_lines.h"

#include <CLI/CLI.hpp>
#include <cerrno>

#include "common/command_line.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/operation_text.h"
#include "common/quote.h"

namespace counterd {
namespace {

// Some editors begin a file with it.
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

bool is_object(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  return begin != line.npos && line[begin] == '{';
}

// Within double quotes a backslash stands for itself, except before these (POSIX, Shell Command
// Language, 2.2.3).
constexpr std::string_view kEscapedInQuotes = "\\\"$`";

// Splits a line into words as a shell does: at blanks; '…', "…" and a backslash quote what they
// hold; a # at the start of a word begins a comment. Nothing is expanded.
class Splitter {
 public:
  explicit Splitter(std::string_view line) : rest_(line) {}

  // kBadParameter: a quotation is not closed, or nothing follows a backslash.
  Result<std::vector<std::string>> split() {
    while (skip_blanks()) {
      std::string word;
      while (!rest_.empty() && !is_blank(rest_.front())) {
        if (const Result<void> taken = take_part(word); !taken) return taken.error();
      }
      words_.push_back(std::move(word));
    }
    return std::move(words_);
  }

 private:
  // False: no word follows.
  bool skip_blanks() {
    while (!rest_.empty() && is_blank(rest_.front())) rest_.remove_prefix(1);
    return !rest_.empty() && rest_.front() != '#';
  }

  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  Result<void> take_part(std::string& word) {
    const char c = take();
    if (c == '\'' || c == '"') return take_quoted(word, c);
    if (c != '\\') {
      word += c;
      return {};
    }
    if (rest_.empty()) return Error{Code::kBadParameter, "a backslash ends the line"};
    word += take();
    return {};
  }

  Result<void> take_quoted(std::string& word, char quote) {
    while (!rest_.empty()) {
      const char c = take();
      if (c == quote) return {};
      const bool escapes = quote == '"' && c == '\\' && !rest_.empty() &&
                           kEscapedInQuotes.find(rest_.front()) != std::string_view::npos;
      word += escapes ? take() : c;
    }
    return Error{Code::kBadParameter, std::string("a quotation that begins with ") + quote +
                                          " does not end in its line"};
  }

  std::string_view rest_;
  std::vector<std::string> words_;
};

}  // namespace

BatchLines::BatchLines(std::istream& input, std::string name, std::size_t from)
    : input_(input), name_(std::move(name)), from_(from), buffer_(kMaxLineBytes + 1) {
  add(OperationKind::kIncrement, add_increment_words);
  add(OperationKind::kReset, add_reset_words);
  add(OperationKind::kDelete,
      [](CLI::App& app) { return OperationWords(app, OperationKind::kDelete); });
  add(OperationKind::kReport,
      [](CLI::App& app) { return OperationWords(app, OperationKind::kReport); });
}

void BatchLines::add(OperationKind kind, OperationWords (*add_words)(CLI::App& app)) {
  auto app = std::make_unique<CLI::App>();
  app->set_help_flag();
  app->allow_extras();
  OperationWords words = add_words(*app);
  commands_.emplace(kind, Command{std::move(app), std::move(words)});
}

std::string BatchLines::place(std::size_t line) const {
  return name_ + ":" + std::to_string(line);
}

Result<Portion> BatchLines::next(std::size_t size) {
  Portion portion;
  portion.group.kind = OperationKind::kEach;
  while (portion.lines.size() < size) {
    const Result<bool> read = read_line();
    if (!read) return read.error();
    if (!*read && number_ + 1 < from_) {
      return Error{Code::kBadParameter, name_ + " ends with line " + std::to_string(number_) +
                                            ", before the line of --from"};
    }
    if (!*read) {
      portion.is_last = true;
      break;
    }
    if (number_ < from_) continue;
    if (const Result<void> taken = take_line(portion); !taken) {
      // A line is data, however wrong its words are.
      const Code code =
          taken.error().code == Code::kUsage ? Code::kBadParameter : taken.error().code;
      return Error{code, place(number_) + ": " + taken.error().message};
    }
  }
  return portion;
}

// False: there are no more.
Result<bool> BatchLines::read_line() {
  errno = 0;
  input_.getline(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  if (input_.bad()) return system_error(Code::kIo, "cannot read " + name_, errno);
  const auto size = static_cast<std::size_t>(input_.gcount());
  if (input_.eof() && size == 0) return false;
  ++number_;
  if (input_.fail()) {
    return Error{Code::kBadParameter,
                 place(number_) + ": longer than " + std::to_string(kMaxLineBytes) + " bytes"};
  }
  line_ = {buffer_.data(), input_.eof() ? size : size - 1};
  if (number_ == 1 && line_.starts_with(kByteOrderMark)) line_.remove_prefix(kByteOrderMark.size());
  return true;
}

Result<void> BatchLines::take_line(Portion& portion) {
  Result<std::optional<Operation>> operation = is_object(line_) ? read_object() : read_words();
  if (!operation) return operation.error();
  if (!*operation) return {};
  portion.group.members.push_back(std::move(**operation));
  portion.lines.push_back(number_);
  return {};
}

Result<std::optional<Operation>> BatchLines::read_object() const {
  Result<FlatObject> object = parse_flat_object(line_);
  if (!object) return object.error();
  Result<Operation> operation = read_operation(std::move(*object));
  if (!operation) return operation.error();
  return std::optional(std::move(*operation));
}

// Nothing: the line has no words.
Result<std::optional<Operation>> BatchLines::read_words() {
  Result<std::vector<std::string>> words = Splitter(line_).split();
  if (!words) return words.error();
  if (words->empty()) return std::optional<Operation>();
  const Result<OperationKind> kind = parse_kind(words->front());
  if (!kind) return kind.error();
  Result<Operation> operation = parse(commands_.at(*kind), std::move(*words));
  if (!operation) return operation.error();
  return std::optional(std::move(*operation));
}

Result<Operation> BatchLines::parse(Command& command, std::vector<std::string> words) {
  words.erase(words.begin());
  command.words.forget();
  try {
    command.app->parse(words_for_parser(*command.app, words));
  } catch (const CLI::ParseError& error) {
    return Error{Code::kBadParameter, explain(error)};
  }
  for (const std::string& word : command.app->remaining()) {
    if (word != "--") return Error{Code::kBadParameter, "unexpected " + quote_for_people(word)};
  }
  return command.words.read();
}

}  // namespace counterd
