#include "common/json.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/limits.h"

namespace counterd {
namespace {

using Json = nlohmann::json;

// Takes the events of nlohmann's parser for one flat object; anything else stops it with a reason.
class FlatObjectReader : public nlohmann::json_sax<Json> {
 public:
  FlatObject members;
  std::string problem;

  bool null() override { return refuse("null is not a value here"); }
  bool boolean(bool value) override { return take(value ? "true" : "false"); }
  // A zero that comes here, and not as unsigned, has a minus, which a caller may not want to see.
  bool number_integer(number_integer_t value) override {
    return take(value == 0 ? "-0" : std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override { return take(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return take(text); }
  bool string(string_t& value) override { return take(value); }
  bool binary(binary_t&) override { return refuse("binary data is not a value here"); }
  bool start_object(std::size_t) override {
    return std::exchange(inside_, true) ? refuse("a nested object is not a value here") : true;
  }
  bool key(string_t& name) override {
    const bool seen = std::any_of(members.begin(), members.end(),
                                  [&](const auto& member) { return member.first == name; });
    if (seen) return refuse(quote_for_people(name) + " is given twice");
    if (members.size() == kMaxParameters) return refuse("it has too many members");
    members.emplace_back(name, "");
    return true;
  }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return refuse("an array is not a value here"); }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return refuse("not JSON at byte " + std::to_string(position));
  }

 private:
  bool refuse(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool take(std::string value) {
    if (!inside_) return refuse("not an object");
    members.back().second = std::move(value);
    return true;
  }

  bool inside_ = false;
};

}  // namespace

Result<FlatObject> parse_flat_object(std::string_view text) {
  // The parser would take a NUL for the end of the text.
  if (text.find('\0') != std::string_view::npos) {
    return Error{Code::kBadBody, "the body is not a flat JSON object: it has a NUL character"};
  }
  FlatObjectReader reader;
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) {
    return Error{Code::kBadBody, "the body is not a flat JSON object: " + reader.problem};
  }
  return std::move(reader.members);
}

void append_json_string(std::string& out, std::string_view text) {
  out += Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_string_member(std::string_view text, std::string_view name) {
  const Json document = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!document.is_object()) return {};
  const auto found = document.find(std::string(name));
  return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string quote_for_people(std::string_view text) {
  constexpr std::size_t kShown = 64;
  std::string quoted = "'";
  for (const char c : text.substr(0, kShown)) {
    if (c >= ' ' && c <= '~') {
      quoted += c;
    } else {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\x%02x", static_cast<unsigned char>(c));
      quoted += escape.data();
    }
  }
  quoted += text.size() > kShown ? "…'" : "'";
  return quoted;
}

}  // namespace counterd
