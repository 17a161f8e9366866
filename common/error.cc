#include "common/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace counterd {
namespace {

constexpr std::string_view kTypePrefix = "urn:counterd:error:";

// Exit statuses: 1 and 2 are ours, the others are those of sysexits.h: 64 usage, 65 bad data,
// 69 unavailable, 74 I/O, 75 temporary failure (here: unknown, and only that), 77 not allowed,
// 78 configuration.
constexpr std::array kCodes = {
    CodeInfo{Code::kOk, "ok", "Done", 200, 0},
    CodeInfo{Code::kBadName, "bad-name", "Not a counter name", 400, 65},
    CodeInfo{Code::kBadKey, "bad-key", "Not an idempotency key", 400, 65},
    CodeInfo{Code::kBadNumber, "bad-number", "Not a number", 400, 65},
    CodeInfo{Code::kBadParameter, "bad-parameter", "Wrong parameter", 400, 65},
    CodeInfo{Code::kBadBody, "bad-body", "Malformed body", 400, 65},
    CodeInfo{Code::kBadRequest, "bad-request", "Malformed request", 400, 65},
    CodeInfo{Code::kForbidden, "forbidden", "Not allowed", 403, 77},
    CodeInfo{Code::kNoRoute, "no-route", "No such resource", 404, 69},
    CodeInfo{Code::kMethodNotAllowed, "method-not-allowed", "Method not allowed", 405, 69},
    CodeInfo{Code::kRequestTimeout, "request-timeout", "Request not received in time", 408, 69},
    CodeInfo{Code::kLengthRequired, "length-required", "Content-Length required", 411, 65},
    CodeInfo{Code::kBodyTooLarge, "body-too-large", "Body too large", 413, 65},
    CodeInfo{Code::kTargetTooLong, "target-too-long", "Request target too long", 414, 65},
    CodeInfo{Code::kUnsupportedMediaType, "unsupported-media-type", "Unsupported media type", 415,
             65},
    CodeInfo{Code::kExpectationFailed, "expectation-failed", "Expectation failed", 417, 65},
    CodeInfo{Code::kHeadTooLarge, "head-too-large", "Request head too large", 431, 65},
    CodeInfo{Code::kVersionNotSupported, "version-not-supported", "HTTP version not supported", 505,
             65},
    CodeInfo{Code::kMissing, "no-such-counter", "No such counter", 404, 2},
    CodeInfo{Code::kOutOfRange, "out-of-range", "Beyond the range of a counter", 409, 1},
    CodeInfo{Code::kBeyondBound, "beyond-bound", "Beyond a bound", 409, 1},
    CodeInfo{Code::kLimitReached, "limit-reached", "Beyond a bound until the window ends", 429, 1},
    CodeInfo{Code::kOtherWindow, "other-window", "Counter of another window", 409, 65},
    CodeInfo{Code::kKeyReused, "key-reused", "Key of another operation", 422, 65},
    CodeInfo{Code::kOverloaded, "overloaded", "Too many operations wait", 503, 69},
    CodeInfo{Code::kClocksApart, "clocks-apart", "Clocks too far apart", 503, 69},
    CodeInfo{Code::kTooManyKeys, "too-many-keys", "Too many idempotency keys", 503, 69},
    CodeInfo{Code::kStoreFull, "store-full", "Store full", 507, 69},
    CodeInfo{Code::kUnavailable, "store-unavailable", "Store unavailable", 503, 69},
    CodeInfo{Code::kUnknown, "unknown-outcome", "Unknown whether it was applied", 503, 75},
    CodeInfo{Code::kUsage, "usage", "Wrong usage", 400, 64},
    CodeInfo{Code::kConfig, "configuration", "Wrong configuration", 500, 78},
    CodeInfo{Code::kIo, "io", "Input or output failed", 500, 74},
};

constexpr bool table_is_in_order() {
  for (std::size_t i = 0; i < kCodes.size(); ++i) {
    if (static_cast<std::size_t>(kCodes[i].code) != i) return false;
  }
  return kCodes.size() == static_cast<std::size_t>(Code::kIo) + 1;
}
static_assert(table_is_in_order(), "code_info() finds a row by its place");

}  // namespace

const CodeInfo& code_info(Code code) {
  return kCodes[static_cast<std::size_t>(code)];
}

std::string problem_type(Code code) {
  return std::string(kTypePrefix).append(code_info(code).type);
}

std::optional<Code> code_of_problem_type(std::string_view type) {
  if (!type.starts_with(kTypePrefix)) return std::nullopt;
  type.remove_prefix(kTypePrefix.size());
  for (const CodeInfo& info : kCodes) {
    if (info.type == type && info.code != Code::kOk) return info.code;
  }
  return std::nullopt;
}

Error system_error(Code code, std::string_view what, int number, std::string_view rest) {
  const std::string_view hint = number == EMFILE ? " (ulimit -n; LimitNOFILE= of systemd)" : "";
  std::string message(what);
  message.append(": ").append(std::generic_category().message(number)).append(hint);
  return {code, message.append(rest)};
}

bool is_shortage(int number) {
  constexpr std::array kShortages = {EMFILE, ENFILE, ENOMEM, ENOBUFS, ENOSPC, EDQUOT};
  return std::ranges::find(kShortages, number) != kShortages.end();
}

Code setup_code(int number) {
  return is_shortage(number) ? Code::kIo : Code::kConfig;
}

}  // namespace counterd
