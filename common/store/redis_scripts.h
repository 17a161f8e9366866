// The scripts that the server runs for the redis engine, and what it calls them: their SHA-1.
#pragma once

#include <string_view>

namespace counterd {

extern const std::string_view kApplyScript;  // redis_apply.lua
extern const std::string_view kApplyName;
extern const std::string_view kListScript;  // redis_list.lua
extern const std::string_view kListName;

}  // namespace counterd
