#include "daemon/config_file.h"

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "common/ascii.h"
#include "common/quote.h"

namespace counterd {
namespace {

constexpr std::size_t kMaxFileBytes = 64 * 1024;

// Takes all before the first of the characters `ends` off `text`; all of it if there is none.
std::string_view take_before(std::string_view& text, std::string_view ends) {
  const std::string_view taken = text.substr(0, text.find_first_of(ends));
  text.remove_prefix(taken.size());
  return taken;
}

Result<std::vector<std::string>> read_values(std::string_view text) {
  std::vector<std::string> values;
  for (;;) {
    if (text.starts_with('\'')) {
      return Error{Code::kConfig, "a value that begins with ' stands in double quotes"};
    }
    const bool is_quoted = text.starts_with('"');
    if (is_quoted) text.remove_prefix(1);
    values.emplace_back(take_before(text, is_quoted ? "\"" : ", \t\""));
    if (is_quoted) {
      if (text.empty()) return Error{Code::kConfig, "a double quote is not closed"};
      text.remove_prefix(1);
    }
    text = trim(text);
    if (text.empty()) return values;
    if (!text.starts_with(',')) {
      return Error{Code::kConfig, quote_without_secrets(text) +
                                      " comes after a value; a value with a blank or a "
                                      "comma stands in double quotes, a comment on a line of "
                                      "its own"};
    }
    text = trim(text.substr(1));
  }
}

Result<void> read_line(std::string_view line, std::size_t number,
                       std::vector<ConfigSetting>& settings) {
  const std::size_t equals = line.find('=');
  if (equals == line.npos) {
    return Error{Code::kConfig, quote_without_secrets(line) + " is not NAME = VALUE"};
  }
  const std::string_view name = trim(line.substr(0, equals));
  Result<std::vector<std::string>> values = read_values(trim(line.substr(equals + 1)));
  if (!values) return values.error();
  auto setting = std::ranges::find(settings, name, &ConfigSetting::name);
  if (setting == settings.end()) {
    setting = settings.insert(setting, ConfigSetting{std::string(name), number, {}});
  }
  std::move(values->begin(), values->end(), std::back_inserter(setting->values));
  return {};
}

}  // namespace

Result<std::vector<ConfigSetting>> parse_config(std::string_view text) {
  std::vector<ConfigSetting> settings;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = trim(take_until(text, '\n'), " \t\r");
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (const Result<void> read = read_line(line, number, settings); !read) {
      return Error{Code::kConfig, "line " + std::to_string(number) + ": " + read.error().message};
    }
  }
  return settings;
}

Result<std::vector<ConfigSetting>> read_config_file(const std::string& path) {
  std::string text(kMaxFileBytes + 1, '\0');
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return system_error(setup_code(errno), "cannot read the file " + path, errno);
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return Error{Code::kConfig, "the file " + path + " is longer than " +
                                    std::to_string(kMaxFileBytes / 1024) + " KiB"};
  }
  Result<std::vector<ConfigSetting>> settings = parse_config(text);
  if (!settings) return Error{Code::kConfig, path + ", " + settings.error().message};
  return settings;
}

}  // namespace counterd
