// Paths of files.
#pragma once

#include <string>

#include "common/error.h"

namespace counterd {

// `path` from the root on, so that it holds whatever folder is the current one later.
// kConfig: it is relative, and the current folder is gone.
Result<std::string> absolute_path(const std::string& path);

}  // namespace counterd
