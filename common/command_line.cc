#include "common/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <span>

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

CLI::ConversionError needs_value(const CLI::Option& option, const std::string& next) {
  const std::string name = option.get_name();
  return CLI::ConversionError(name + " needs a value; if " + next + " is meant: " + name + "=" +
                              next);
}

}  // namespace

std::vector<std::string> words_for_parser(const CLI::App& app,
                                          const std::vector<std::string>& words) {
  std::vector<std::string> split;
  const CLI::Option* waits = nullptr;  // the next word is its value
  const auto end = std::ranges::find(words, "--");
  for (const std::string& word : std::span<const std::string>(words.begin(), end)) {
    const std::string name = word.substr(0, word.find('='));
    const CLI::Option* const option = word.starts_with('-') ? find_option(app, name) : nullptr;
    if (waits != nullptr && option != nullptr) throw needs_value(*waits, word);
    const bool takes_value = option != nullptr && option->get_items_expected_min() > 0;
    const bool lacks_value = option != nullptr && word == name + "=";
    if (lacks_value && !takes_value) {
      throw CLI::ConversionError(name + " takes no value; leave the = away");
    }
    split.push_back(lacks_value ? name : word);
    if (lacks_value) split.emplace_back();
    waits = takes_value && word == name ? option : nullptr;
  }
  if (waits != nullptr && end != words.end()) throw needs_value(*waits, "--");
  split.insert(split.end(), end, words.end());
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
