// JSON, as far as the program speaks it (RFC 8259): flat objects in, alone or in one list, members
// of objects out.
#pragma once

#include <concepts>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/error.h"

namespace counterd {

// The members of an object in their order; numbers and booleans as text. What a number means, and
// whether it fits, is for the caller to say, who knows the parameter's name.
using FlatObject = std::vector<std::pair<std::string, std::string>>;

// Reads one object whose members are strings, numbers or booleans, each name once. kBadBody for
// anything else: malformed text, another type, a nested value, a repeated name, more members than
// kMaxParameters.
Result<FlatObject> parse_flat_object(std::string_view text);

// The same with one more member, `list`: an array of flat objects, each of which goes to `take` as
// it is read; an Error from that is the result. The member itself is among the others, without a
// value.
Result<FlatObject> parse_object_with_list(std::string_view text, std::string_view list,
                                          const std::function<Result<void>(FlatObject&)>& take);

// Appends `text` as a JSON string. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

// Appends the name of a member, after a comma unless it is the first of its object; its value comes
// next.
void append_json_name(std::string& out, std::string_view name);

// Appends a member whose value is a string, or a number.
void append_json_member(std::string& out, std::string_view name, std::string_view text);
template <std::integral Number>
void append_json_member(std::string& out, std::string_view name, Number number) {
  append_json_name(out, name);
  out += std::to_string(number);
}

// The value of the member `name` of the object `text`, if it is a string; empty otherwise. For
// replies, whose form the server chose.
std::string json_string_member(std::string_view text, std::string_view name);

}  // namespace counterd
