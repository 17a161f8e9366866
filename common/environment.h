// The environment, in which an empty variable counts as one that is not set.
#pragma once

#include <cstdlib>
#include <string>

namespace counterd {

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace counterd
