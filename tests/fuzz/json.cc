// JSON in and out: what the reader of flat objects accepts can be written and read again, numbers
// come as they are written, and any text becomes a string that can be read.
#include "common/json.h"

#include <algorithm>

#include "common/limits.h"
#include "common/quote.h"
#include "tests/fuzz/fuzz.h"

using namespace counterd;

namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string string_of(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string object_of(const FlatObject& members) {
  std::string out = "{";
  for (const auto& [name, value] : members) {
    if (out.size() > 1) out += ',';
    out += string_of(name) + ":" + string_of(value);
  }
  return out + "}";
}

// `text` with nothing of its strings but their quotation marks.
std::string without_strings(std::string_view text) {
  std::string rest;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') inside = !inside;
    if (inside && text[i] == '\\') ++i;
    if (!inside) rest += text[i];
  }
  return rest;
}

void expect_good(const FlatObject& members, std::string_view text) {
  EXPECT(members.size() <= kMaxParameters);
  for (const auto& member : members) {
    EXPECT(std::count_if(members.begin(), members.end(),
                         [&](const auto& other) { return other.first == member.first; }) == 1);
    // Empty for a number and for the likes of true.
    const std::string text_member = json_string_member(text, member.first);
    EXPECT(text_member.empty() || text_member == member.second);
  }
  const std::string structure = without_strings(text);
  EXPECT(std::count(structure.begin(), structure.end(), '{') == 1);
  EXPECT(structure.find('[') == std::string::npos);
  const Result<FlatObject> again = parse_flat_object(object_of(members));
  EXPECT(again.ok() && *again == members);
  // It ends with its brace: without that it is nothing yet, and with more after it nothing more.
  const std::size_t end = text.find_last_not_of(kSpace);
  EXPECT(text[end] == '}');
  EXPECT(!parse_flat_object(text.substr(0, end)));
  EXPECT(!parse_flat_object(std::string(text) + "}"));
  EXPECT(parse_flat_object(std::string(text) + " "));
}

void try_object(std::string_view text) {
  const Result<FlatObject> members = parse_flat_object(text);
  if (members) return expect_good(*members, text);
  EXPECT(members.error().code == Code::kBadBody);
  expect_message(members.error());
}

// `text` as the value of a member: a number is what its text says.
void try_number(std::string_view text) {
  const bool begins_number = text.starts_with('-') || (!text.empty() && std::isdigit(text[0]) != 0);
  if (!begins_number || text.find_first_of(kSpace) != std::string_view::npos) return;
  const Result<FlatObject> members = parse_flat_object("{\"n\":" + std::string(text) + "}");
  if (members && members->size() == 1) EXPECT(members->front().second == text);
}

void try_string(std::string_view text) {
  const std::string json = string_of(text);
  for (const char c : json) EXPECT(static_cast<unsigned char>(c) >= ' ');
  const Result<FlatObject> members = parse_flat_object("{\"s\":" + json + "}");
  EXPECT(members.ok() && members->size() == 1);
  const std::string& read = members->front().second;
  EXPECT(string_of(read) == json);
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) EXPECT(read == text);
  EXPECT(read == text || read.find("\xEF\xBF\xBD") != std::string::npos);
  const std::string quoted = quote_for_people(text);
  EXPECT(quoted.size() <= 4 * 64 + 5 && quoted.starts_with('\'') && quoted.ends_with('\''));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  try_object(text);
  try_number(text);
  try_string(text);
  return 0;
}
