#include "common/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <span>
#include <utility>

namespace counterd {
namespace {

// Null: neither the app nor a command of it has an option of that name.
const CLI::Option* find_option(const CLI::App& app, const std::string& name) {
  const CLI::Option* found = app.get_option_no_throw(name);
  for (const CLI::App* command : app.get_subcommands({})) {
    if (found == nullptr) found = command->get_option_no_throw(name);
  }
  return found;
}

std::string name_of(const std::string& word) {
  return word.substr(0, word.find('='));
}

// `words` has nothing that follows `--`, but the `--` itself.
void check_values(const CLI::App& app, std::span<const std::string> words) {
  const CLI::Option* waits = nullptr;  // the next word is its value
  for (const std::string& word : words) {
    const std::string name = name_of(word);
    const CLI::Option* const option = word.starts_with('-') ? find_option(app, name) : nullptr;
    if (waits != nullptr && (option != nullptr || word == "--")) {
      std::string message = waits->get_name() + " needs a value; if " + word + " is meant: ";
      throw CLI::ConversionError(message.append(waits->get_name()).append("=").append(word));
    }
    const bool takes_next =
        option != nullptr && name.size() == word.size() && option->get_items_expected_min() > 0;
    waits = takes_next ? option : nullptr;
  }
}

}  // namespace

std::vector<std::string> words_for_parser(const CLI::App& app, std::vector<std::string> words) {
  const auto end = std::ranges::find(words, "--");
  check_values(app, {words.begin(), end == words.end() ? end : end + 1});
  std::vector<std::string> split;
  for (auto word = words.begin(); word != words.end(); ++word) {
    const std::string name = name_of(*word);
    const bool lacks_value = word < end && name.starts_with('-') && word->size() == name.size() + 1;
    const CLI::Option* const option = lacks_value ? find_option(app, name) : nullptr;
    if (option == nullptr) {
      split.push_back(std::move(*word));
    } else if (option->get_items_expected_min() > 0) {
      split.insert(split.end(), {name, ""});
    } else {
      throw CLI::ConversionError(name + " takes no value; leave the = away");
    }
  }
  std::ranges::reverse(split);
  return split;
}

// CLI11 counts what is missing or too much, and does not say of what.
std::string explain(const CLI::ParseError& error) {
  std::string text = error.what();
  const std::size_t end_of_name = text.find(':');
  if (error.get_name() != "ArgumentMismatch" || end_of_name == text.npos) return text;
  const bool too_many = text.find("At Most") != text.npos;
  return text.substr(0, end_of_name) + (too_many ? " is given more than once" : " needs a value");
}

}  // namespace counterd
