// The configuration file (counterd(8), CONFIGURATION FILE): what is written in it, not what it
// means.
//
// Not by CLI11, which has its own files for command lines: it takes a ; within a value for the
// beginning of a comment, brackets for those of a list, and lines of one name that are apart for
// different settings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace counterd {

struct ConfigSetting {
  std::string name;
  std::vector<std::string> values;  // of all lines with this name, in their order
};

// Reads lines of NAME = VALUE[, VALUE…]: a value is a word without commas and double quotes that
// does not begin with a single one, or anything within double quotes but those. Empty lines and
// those that begin with # or ; say nothing. kConfig: another line, whose number the message tells.
Result<std::vector<ConfigSetting>> parse_config(std::string_view text);

// The same of a file. kConfig: it cannot be read, or is longer than 64 KiB; names the file.
Result<std::vector<ConfigSetting>> read_config_file(const std::string& path);

}  // namespace counterd
