// What can be set, and how the words of each setting are read and written.
#pragma once

#include <string>
#include <vector>

#include "daemon/options.h"

namespace counterd {

using Values = std::vector<std::string>;

// One setting, whatever it is set by: its words are interpreted here, strictly, and in the same way
// for every source.
struct Setting {
  std::string name;        // --name, COUNTERD_NAME, name = in a file
  std::string value_name;  // empty: a flag
  std::string help;
  Result<void> (*set)(DaemonOptions& options, const std::string& value);
  // The values that, given to set(), make it what it is; none where settings_of() leaves it out.
  Values (*get)(const DaemonOptions& options);
  bool repeatable = false;
};

// All of them, in the order in which --help shows them.
const std::vector<Setting>& settings();

}  // namespace counterd
