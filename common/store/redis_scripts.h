// The scripts that the server runs for the redis engine: redis_apply.lua and redis_list.lua.
#pragma once

#include <string_view>

namespace counterd {

enum class RedisScript : unsigned char { kApply, kList };

std::string_view source_of(RedisScript script);

}  // namespace counterd
