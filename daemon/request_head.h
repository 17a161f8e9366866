// Reads a request head strictly, before any other code sees it: what lenient parsers accept
// (conflicting lengths, folded fields, stray control characters) is how requests are smuggled.
//
// Accepts a subset of RFC 9112: a request line with a path, also after "http://HOST", and HTTP/1.0
// or 1.1, fields without folding, one Host (HTTP/1.0: at most one), a length given by at most one
// Content-Length. Refuses everything else and everything beyond limits.h, with the code that HTTP
// has for it, else with kBadRequest. A field that is not among kFields of request_head.cc is only
// checked for its form, such as Range, which a server may ignore (RFC 9110, 14.2).
#pragma once

#include <optional>
#include <string_view>

#include "common/error.h"

namespace counterd {

// The views point into the input. A missing field is empty, or nullopt where it is a std::optional.
struct RequestHead {
  std::size_t size = 0;       // bytes of the head, its empty line included
  std::size_t body_size = 0;  // bytes of the body after it, 0 to kMaxBodyBytes
  std::string_view method;
  std::string_view target;  // begins with '/'; percent-encoded
  std::string_view host;    // of the target, or of the field
  std::string_view content_type;
  std::string_view accept;  // the first one
  std::string_view sec_fetch_site;
  std::optional<std::string_view> idempotency_key;  // as it was written
  std::optional<std::string_view> idempotency_key_lifetime;
  bool has_origin = false;
  bool http_1_0 = false;
  bool keep_alive = true;         // what the client wants (RFC 9112, 9.3)
  bool asks_to_close = false;     // by Connection: close
  bool expects_continue = false;  // it waits for 100 before it sends the body (RFC 9110, 10.1.1)
};

// The head at the start of `input`; nothing if it is incomplete so far but may still become one.
Result<std::optional<RequestHead>> read_request_head(std::string_view input);

}  // namespace counterd
