#pragma once

#include <string_view>

namespace counterd {

// COUNTERD_VERSION comes from CMakeLists.txt.
inline constexpr std::string_view kVersion = COUNTERD_VERSION;

}  // namespace counterd
