#include "common/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/limits.h"
#include "common/quote.h"

namespace counterd {
namespace {

using Json = nlohmann::json;

using TakeObject = std::function<Result<void>(FlatObject&)>;

// Takes the events of nlohmann's parser for one flat object, which may have a list of others;
// anything else stops it with a reason.
class ObjectReader : public nlohmann::json_sax<Json> {
 public:
  // Without a list: null.
  ObjectReader(std::string_view list, const TakeObject* take) : list_(list), take_(take) {}

  FlatObject members;
  std::string problem;           // why it is not such an object
  std::optional<Error> refused;  // by take()

  bool null() override { return refuse("null is not a value here"); }
  bool boolean(bool value) override { return take(value ? "true" : "false"); }
  // A zero that comes here, and not as unsigned, has a minus, which a caller may not want to see.
  bool number_integer(number_integer_t value) override {
    return take(value == 0 ? "-0" : std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override { return take(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return take(text); }
  bool string(string_t& value) override { return take(std::move(value)); }
  bool binary(binary_t&) override { return refuse("binary data is not a value here"); }
  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kObject;
    } else if (place_ == Place::kList) {
      place_ = Place::kItem;
      item_.clear();
    } else {
      return refuse("a nested object is not a value here");
    }
    return true;
  }
  bool key(string_t& name) override {
    FlatObject& object = current();
    const auto same = std::ranges::find(object, name, &FlatObject::value_type::first);
    if (same != object.end()) return refuse(quote_for_people(name) + " is given twice");
    if (object.size() == kMaxParameters) return refuse("it has too many members");
    object.emplace_back(std::move(name), "");
    return true;
  }
  bool end_object() override {
    if (place_ != Place::kItem) return true;
    place_ = Place::kList;
    const Result<void> taken = (*take_)(item_);
    if (!taken) refused = taken.error();
    return taken.ok();
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::kObject || take_ == nullptr || members.back().first != list_) {
      return refuse("an array is not a value here");
    }
    place_ = Place::kList;
    return true;
  }
  bool end_array() override {
    place_ = Place::kObject;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& failure) override {
    constexpr int kNumberOverflow = 406;  // of the library
    return refuse(
        (failure.id == kNumberOverflow ? "a number out of range at byte " : "not JSON at byte ") +
        std::to_string(position));
  }

 private:
  enum class Place : unsigned char { kOutside, kObject, kList, kItem };

  FlatObject& current() { return place_ == Place::kItem ? item_ : members; }
  bool refuse(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool take(std::string value) {
    if (place_ == Place::kOutside || place_ == Place::kList) return refuse("not an object");
    FlatObject& object = current();
    if (place_ == Place::kObject && take_ != nullptr && object.back().first == list_) {
      return refuse(quote_for_people(list_) + " is not an array");
    }
    object.back().second = std::move(value);
    return true;
  }

  const std::string_view list_;
  const TakeObject* const take_;
  Place place_ = Place::kOutside;
  FlatObject item_;
};

Error not_an_object(std::string_view what, std::string_view why) {
  return {Code::kBadBody, std::string("not ").append(what).append(": ").append(why)};
}

Result<FlatObject> parse_object(std::string_view text, ObjectReader reader, std::string_view what) {
  // The parser would take a NUL for the end of the text.
  if (text.find('\0') != std::string_view::npos) {
    return not_an_object(what, "it has a NUL character");
  }
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) {
    return reader.refused ? *reader.refused : not_an_object(what, reader.problem);
  }
  return std::move(reader.members);
}

}  // namespace

Result<FlatObject> parse_flat_object(std::string_view text) {
  return parse_object(text, {"", nullptr}, "a flat JSON object");
}

Result<FlatObject> parse_object_with_list(std::string_view text, std::string_view list,
                                          const TakeObject& take) {
  return parse_object(text, {list, &take}, "a JSON object with a list of flat ones");
}

void append_json_string(std::string& out, std::string_view text) {
  out += Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

void append_json_name(std::string& out, std::string_view name) {
  if (!out.ends_with('{')) out += ',';
  out.append("\"").append(name).append("\":");
}

void append_json_member(std::string& out, std::string_view name, std::string_view text) {
  append_json_name(out, name);
  append_json_string(out, text);
}

std::string json_string_member(std::string_view text, std::string_view name) {
  const Json document = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!document.is_object()) return {};
  const auto found = document.find(std::string(name));
  return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace counterd
