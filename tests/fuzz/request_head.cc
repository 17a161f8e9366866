// The head check: its limits, that it judges the head alone and no sooner than it can, and that
// another parser reads whatever it accepts as a message of the same length.
#include "daemon/request_head.h"

#include <algorithm>

#include "common/ascii.h"
#include "common/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/other_parser.h"

using namespace counterd;

namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";
// Of longer heads not every beginning is tried: that would take the square of their length.
constexpr std::size_t kTriedPrefixes = 64;

bool is_one_of(char c, std::string_view characters) {
  return characters.find(c) != std::string_view::npos;
}

void expect_method_and_target(const RequestHead& head) {
  EXPECT(!head.method.empty() && head.method.size() <= 32);
  for (const char c : head.method) {
    EXPECT(c > ' ' && c < 0x7f && !is_one_of(c, "\"(),/:;<=>?@[\\]{}"));
  }
  EXPECT(head.target.starts_with('/') && head.target.size() <= kMaxTargetBytes);
  for (const char c : head.target) EXPECT(c > ' ' && c < 0x7f && c != '#');
}

void expect_part_of(std::string_view part, std::string_view whole) {
  if (part.empty()) return;
  EXPECT(part.data() >= whole.data());
  EXPECT(part.data() + part.size() <= whole.data() + whole.size());
  EXPECT(!is_one_of(part.front(), " \t\r\n") && !is_one_of(part.back(), " \t\r\n"));
}

void expect_same(const Result<std::optional<RequestHead>>& a,
                 const Result<std::optional<RequestHead>>& b) {
  EXPECT(a.ok() == b.ok());
  if (!a) {
    EXPECT(a.error().code == b.error().code && a.error().message == b.error().message);
    return;
  }
  EXPECT(a->has_value() && b->has_value());
  EXPECT((*a)->size == (*b)->size && (*a)->body_size == (*b)->body_size);
  EXPECT((*a)->method == (*b)->method && (*a)->target == (*b)->target);
  EXPECT((*a)->host == (*b)->host && (*a)->content_type == (*b)->content_type);
  EXPECT((*a)->idempotency_key == (*b)->idempotency_key);
  EXPECT((*a)->keep_alive == (*b)->keep_alive && (*a)->has_origin == (*b)->has_origin);
}

// A connection ends when the client says so, whatever else it says (RFC 9112, 9.3).
void expect_connection(const RequestHead& head, std::string_view text) {
  const auto names = [&](std::string_view option) {
    return lower_case(std::string(text)).find(option) != std::string::npos;
  };
  if (!head.http_1_0 && !names("close")) EXPECT(head.keep_alive);
  if (head.http_1_0 && !names("keep-alive")) EXPECT(!head.keep_alive);
  std::string closing(text);
  closing.insert(text.find("\r\n") + 2, "Connection: close\r\n");
  const auto read = read_request_head(closing);
  if (read && *read) EXPECT(!(*read)->keep_alive);
}

void expect_good(const RequestHead& head, std::string_view input) {
  const std::string_view text = input.substr(0, head.size);
  EXPECT(head.size <= kMaxHeadBytes && head.size == input.find(kHeadEnd) + kHeadEnd.size());
  EXPECT(head.body_size <= kMaxBodyBytes);
  expect_method_and_target(head);
  for (const std::string_view part :
       {head.method, head.target, head.host, head.content_type, head.accept, head.sec_fetch_site}) {
    expect_part_of(part, text);
  }
  for (std::size_t size = 0; size < text.size(); size += 1 + text.size() / kTriedPrefixes) {
    const auto part = read_request_head(text.substr(0, size));
    EXPECT(part.ok() && !part->has_value());
  }
  EXPECT(reads_as_request(text, head.body_size));
  expect_connection(head, text);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = as_text(data, size);
  const auto read = read_request_head(input);
  if (!read) {
    EXPECT(code_info(read.error().code).http_status >= 400);
    expect_message(read.error());
  } else if (read->has_value()) {
    expect_good(**read, input);
  }
  // What comes after the head's end changes nothing.
  const std::size_t end = input.find(kHeadEnd);
  if (end != std::string_view::npos) {
    EXPECT(!read || read->has_value());
    expect_same(read, read_request_head(input.substr(0, end + kHeadEnd.size())));
  }
  return 0;
}
