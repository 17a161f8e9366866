// The scripts that the server runs for the redis engine.
#pragma once

#include <string_view>

namespace counterd {

extern const std::string_view kApplyScript;  // redis_apply.lua
extern const std::string_view kListScript;   // redis_list.lua

}  // namespace counterd
