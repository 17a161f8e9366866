#include "daemon/parameters.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/ascii.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/quote.h"

namespace counterd {
namespace {

// The media type of a Content-Type field, in lower case, without its parameters.
std::string media_type(std::string_view field_value) {
  return lower_case(trim(field_value.substr(0, field_value.find(';'))));
}

// A part of a query or a form, where a '+' is a space.
Result<std::string> decode_part(std::string_view part) {
  std::string text(part);
  std::ranges::replace(text, '+', ' ');
  std::optional<std::string> decoded = percent_decode(text);
  if (decoded) return std::move(*decoded);
  return Error{Code::kBadParameter,
               "a '%' without two hexadecimal digits in " + quote_for_people(part)};
}

Result<Parameters> split_pairs(std::string_view text) {
  Parameters pairs;
  while (!text.empty()) {
    std::string_view pair = take_until(text, '&');
    Result<std::string> name = decode_part(take_until(pair, '='));
    if (!name) return name.error();
    Result<std::string> value = decode_part(pair);
    if (!value) return value.error();
    if (pairs.size() == kMaxParameters) {
      return Error{Code::kBadParameter,
                   "more than " + std::to_string(kMaxParameters) + " parameters"};
    }
    pairs.emplace_back(std::move(*name), std::move(*value));
  }
  return pairs;
}

Result<Parameters> read_body(const RequestHead& head, std::string_view body) {
  if (head.method == "GET" || head.method == "HEAD") {
    return Error{Code::kBadBody, "a " + std::string(head.method) + " request has no body here"};
  }
  const std::string type = media_type(head.content_type);
  if (type == "application/json") return parse_flat_object(body);
  if (type != "application/x-www-form-urlencoded") {
    return Error{Code::kUnsupportedMediaType,
                 "a body is application/json or application/x-www-form-urlencoded"};
  }
  if (!body.starts_with('{')) return split_pairs(body);
  return Error{Code::kUnsupportedMediaType,
               "the body looks like JSON; then its Content-Type must be application/json"};
}

}  // namespace

Result<Parameters> read_parameters(const RequestHead& head, std::string_view query,
                                   std::string_view body, std::span<const std::string_view> known) {
  Result<Parameters> parameters = split_pairs(query);
  if (!parameters) return parameters;
  if (!body.empty()) {
    Result<Parameters> in_body = read_body(head, body);
    if (!in_body) return in_body;
    std::move(in_body->begin(), in_body->end(), std::back_inserter(*parameters));
  }
  if (const Result<void> names = check_parameters(*parameters, known); !names) return names.error();
  return parameters;
}

Result<Operation> read_group(const RequestHead& head, std::string_view query,
                             std::string_view body) {
  constexpr std::array kKnown = {kOperationsMember, kAtomicMember};
  if (!query.empty()) return Error{Code::kBadParameter, "a batch has no parameters in its query"};
  if (media_type(head.content_type) != "application/json") {
    return Error{Code::kUnsupportedMediaType, "a batch is application/json"};
  }
  Operation group{OperationKind::kEach};
  const auto take = [&group](FlatObject& object) -> Result<void> {
    const std::size_t number = group.members.size() + 1;
    if (number > kMaxGroupOperations) {
      return Error{Code::kBadParameter,
                   "more than " + std::to_string(kMaxGroupOperations) + " operations"};
    }
    Result<Operation> operation = read_operation(std::move(object));
    if (!operation) {
      return Error{operation.error().code,
                   "operation " + std::to_string(number) + ": " + operation.error().message};
    }
    group.members.push_back(std::move(*operation));
    return {};
  };
  const Result<Parameters> others = parse_object_with_list(body, kOperationsMember, take);
  if (!others) return others.error();
  if (const Result<void> known = check_parameters(*others, kKnown); !known) return known.error();
  if (group.members.empty()) return Error{Code::kBadParameter, "a batch has operations"};
  bool atomic = false;
  const Result<void> read = read_truth(*others, kAtomicMember, atomic);
  if (!read) return read.error();
  if (atomic) group.kind = OperationKind::kAll;
  return group;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  while (!text.empty()) {
    const std::size_t plain = std::min(text.find('%'), text.size());
    decoded += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    unsigned char byte = 0;
    const char* digits = text.data() + 1;
    if (text.size() < 3 || std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    text.remove_prefix(3);
  }
  return decoded;
}

}  // namespace counterd
