// Command lines, as CLI11 is to read them.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace counterd {

// The words of a command line as parse() of `app` takes them: the last one first. `--option=`
// becomes two words, `--option` and an empty one, if the app or a command of it has an option of
// that name that takes a value: CLI11 would take the next word for it, and a script whose variable
// is empty would not notice. For the same reason throws a CLI::ConversionError where the option
// takes none: CLI11 would take it for true; and where one that takes a value is followed by another
// one, with a value of its own or not, or by `--`, as where a variable without quotation marks is
// empty: CLI11 would take that for the value. What follows `--` stays as it is.
std::vector<std::string> words_for_parser(const CLI::App& app,
                                          const std::vector<std::string>& words);

// What is wrong with them, for people.
std::string explain(const CLI::ParseError& error);

}  // namespace counterd
