// The strict check of a request head, before any other code sees it: what lenient parsers accept
// (conflicting lengths, folded fields, stray control characters) is how requests are smuggled.
//
// Accepts a subset of RFC 9112: a request line with an origin-form target and HTTP/1.0 or 1.1,
// fields without folding, one Host, a length by at most one Content-Length. Refuses, each with a
// code of its own, everything else and everything beyond limits.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

struct Head {
  std::size_t size = 0;       // bytes of the head, its empty line included
  std::size_t body_size = 0;  // bytes of the body behind it, 0 to kMaxBodyBytes
  bool http_1_0 = false;
  bool keep_alive = true;           // what the client wishes (RFC 9112, 9.3)
  bool expects_continue = false;    // it waits for 100 before it sends the body (RFC 9110, 10.1.1)
  bool has_dropped_fields = false;  // Range or Expect: see without_dropped_fields()
};

// The head that `input` begins with; nothing if it is not whole yet, but could become one.
Result<std::optional<Head>> check_head(std::string_view input);

// `head` without the fields that we have dealt with, Expect, or do not offer, Range: httplib
// parses Range by a recursive regular expression on every method.
// REQUIRES: check_head() has accepted `head`
std::string without_dropped_fields(std::string_view head);

}  // namespace counterd
