// Command lines, as CLI11 is to read them.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace counterd {

// The words of a command line as CLI11's parse() takes them: the last one first. `--option=`
// becomes two words, `--option` and an empty one, because CLI11 would take the next word for its
// value: a script whose variable is empty would not notice. What follows `--` stays as it is.
inline std::vector<std::string> words_for_parser(std::vector<std::string> words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  std::vector<std::string> split;
  for (auto word = words.begin(); word != words.end(); ++word) {
    const bool lacks_value = word < end && word->starts_with("--") && word->size() > 3 &&
                             word->find('=') == word->size() - 1;
    if (lacks_value) word->pop_back();
    split.push_back(std::move(*word));
    if (lacks_value) split.emplace_back();
  }
  std::reverse(split.begin(), split.end());
  return split;
}

// What is wrong with them, for people: CLI11 counts what is missing or too much, and does not say
// of what.
inline std::string explain(const CLI::ParseError& error) {
  std::string text = error.what();
  if (error.get_name() != "ArgumentMismatch") return text;
  const bool too_many = text.find("At Most") != text.npos;
  return text.substr(0, text.find(':')) +
         (too_many ? " is given more than once" : " needs a value");
}

}  // namespace counterd
