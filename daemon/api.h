// The HTTP interface: what each request means, and what its reply looks like.
//
// decode() and encode() touch no socket, no store and no clock; decode() alone looks up the time
// zones of windows (calendar.h). Each route is one row of the table in api.cc, with one function
// for each direction.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "daemon/question.h"
#include "daemon/request_head.h"
#include "daemon/response.h"
#include "daemon/sender.h"

namespace counterd {

// What the worker counts about itself, for GET /v1/status.
struct Figures {
  int pid = 0;
  int slot = 0;
  std::int64_t started_at_ms = 0;  // Unix time
  std::uint64_t connections = 0;   // open now
  std::uint64_t requests = 0;      // whole requests received
};

struct ApiOptions {
  SenderRules senders;
  bool allow_get_writes = false;  // the seed's GET /increment and GET /reset
};

struct Route;

// What is kept of a request until its answer arrives.
struct Call {
  const Route* route = nullptr;  // null: the request was refused
  bool plain_text = false;       // the client wants the bare value (Accept: text/plain)
  bool head_only = false;        // the method is HEAD
};

struct Decoded {
  Call call;
  std::variant<Question, Response> result;  // a Response: the request was refused
};

// What the request asks, or its refusal: never fails.
Decoded decode(const RequestHead& head, std::string_view body, const ApiOptions& options);

// The response to a request that decode() did not refuse; to HEAD the same as to GET. REQUIRES:
// `answer` is of the question's kind
Response encode(const Call& call, const Answer& answer, const Figures& figures);

}  // namespace counterd
