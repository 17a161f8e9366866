#include "common/path.h"

#include <filesystem>

namespace counterd {

Result<std::string> absolute_path(const std::string& path) {
  std::error_code failure;
  std::string absolute = std::filesystem::absolute(path, failure).string();
  if (!failure) return absolute;
  return Error{Code::kConfig, "the current folder is gone (" + failure.message() +
                                  "); change to another one, or give the path from / on"};
}

}  // namespace counterd
