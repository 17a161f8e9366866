// The configuration file (counterd(8), CONFIGURATION FILE): what is written in it, not what it
// means.
//
// Not read by CLI11, whose own file format takes a ; within a value as the start of a comment,
// brackets as those of a list, and lines of one name that are not adjacent as different settings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace counterd {

struct ConfigSetting {
  std::string name;
  std::size_t line;                 // the first one with this name, from 1
  std::vector<std::string> values;  // of all lines with this name, in order
};

// Reads lines of NAME = VALUE[, VALUE…]: a value is a word without commas and double quotes that
// does not begin with a single quote, or any text without double quotes within double quotes. Empty
// lines and lines that begin with # or ; are ignored. kConfig: any other line, whose number the
// message gives.
Result<std::vector<ConfigSetting>> parse_config(std::string_view text);

// The same for a file, which the message names. kIo: for now it cannot be opened, for lack of
// descriptors, say; kConfig: it cannot be read, or is longer than 64 KiB.
Result<std::vector<ConfigSetting>> read_config_file(const std::string& path);

}  // namespace counterd
