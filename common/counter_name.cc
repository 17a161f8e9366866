#include "common/counter_name.h"

#include <algorithm>

#include "common/limits.h"
#include "common/quote.h"

namespace counterd {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_name_character(char c) {
  return is_alphanumeric(c) || c == '.' || c == '_' || c == ':' || c == '-';
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameLength && is_alphanumeric(name.front()) &&
         std::all_of(name.begin(), name.end(), is_name_character);
}

std::string rule_broken_by(std::string_view name) {
  return quote_for_people(name) +
         ": 1 to 128 letters, digits, '.', '_', ':' or '-', beginning with a letter or a digit";
}

}  // namespace

bool is_below(std::string_view name, std::string_view prefix) {
  constexpr std::string_view kBoundaries = "._:-";
  const auto is_boundary = [&](char c) { return kBoundaries.find(c) != kBoundaries.npos; };
  if (!name.starts_with(prefix)) return false;
  return name.size() == prefix.size() || (!prefix.empty() && is_boundary(prefix.back())) ||
         is_boundary(name[prefix.size()]);
}

Result<void> check_counter_name(std::string_view name) {
  if (is_name(name)) return {};
  return Error{Code::kBadName, "not a counter name: " + rule_broken_by(name)};
}

Result<void> check_name_prefix(std::string_view prefix) {
  if (prefix.empty() || is_name(prefix)) return {};
  return Error{Code::kBadParameter, "no counter name begins with " + rule_broken_by(prefix)};
}

}  // namespace counterd
