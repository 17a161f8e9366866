#include "common/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

namespace counterd {
namespace {

bool has_option_with_value(const CLI::App& app, const std::string& name) {
  const CLI::Option* const option = app.get_option_no_throw(name);
  return option != nullptr && option->get_items_expected_min() > 0;
}

bool takes_value(const CLI::App& app, const std::string& name) {
  const std::vector<const CLI::App*> commands = app.get_subcommands({});
  return has_option_with_value(app, name) ||
         std::any_of(commands.begin(), commands.end(), [&](const CLI::App* command) {
           return has_option_with_value(*command, name);
         });
}

}  // namespace

std::vector<std::string> words_for_parser(const CLI::App& app, std::vector<std::string> words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  std::vector<std::string> split;
  for (auto word = words.begin(); word != words.end(); ++word) {
    const std::string name = word->substr(0, word->find('='));
    const bool lacks_value = word < end && name.starts_with('-') &&
                             word->size() == name.size() + 1 && takes_value(app, name);
    if (lacks_value) {
      split.insert(split.end(), {name, ""});
    } else {
      split.push_back(std::move(*word));
    }
  }
  std::reverse(split.begin(), split.end());
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
