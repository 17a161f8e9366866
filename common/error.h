// Every failure has one shape: a code from the table in error.cc and a message for people. The
// table gives each code its problem type, its HTTP status and its exit status, so that a shell, an
// HTTP client and a log agree on what happened.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace counterd {

enum class Code : unsigned char {
  kOk,
  // The request is at fault; nothing happened.
  kBadName,
  kBadKey,
  kBadNumber,
  kBadParameter,
  kBadBody,
  kBadRequest,
  kForbidden,
  kNoRoute,
  kMethodNotAllowed,
  kRequestTimeout,
  kLengthRequired,
  kBodyTooLarge,
  kTargetTooLong,
  kUnsupportedMediaType,
  kExpectationFailed,
  kHeadTooLarge,
  kVersionNotSupported,
  // The counter is at fault; nothing happened.
  kMissing,
  kOutOfRange,
  kBeyondBound,   // of the operation itself
  kLimitReached,  // the same until a window ends: see refusal_code() of operation.h
  kOtherWindow,   // the counter has another one, or none
  kKeyReused,     // the idempotency key belongs to another operation
  // The store or the server is at fault.
  kOverloaded,   // nothing happened: too much is waiting already
  kClocksApart,  // nothing happened: the store's clock and ours give different windows
  kTooManyKeys,  // nothing happened: no more idempotency keys can be remembered now
  kStoreFull,    // nothing happened: the store has no room for it
  kUnavailable,  // nothing happened: try again
  kUnknown,      // it may or may not have happened
  // The program was started wrongly; nothing happened.
  kUsage,
  kConfig,
  kIo,  // the system failed the program; what had been done before, the message says
};

struct Error {
  Code code;
  std::string message;
};

// What the outside sees of a code.
struct CodeInfo {
  Code code;
  std::string_view type;   // last part of the problem type, stable
  std::string_view title;  // short, the same for every occurrence (RFC 9457, 3.1.2)
  int http_status;
  int exit_status;  // 64 and above as in sysexits.h
};

const CodeInfo& code_info(Code code);

// "urn:counterd:error:" and the type of `code`: the `type` of a problem document (RFC 9457, 3.1.1).
std::string problem_type(Code code);

// The code of the problem whose type is `type`; nothing for a type that is not ours, and for kOk.
std::optional<Code> code_of_problem_type(std::string_view type);

// A value, or an Error.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(const T& value) : state_(std::in_place_index<0>, value) {}
  Result(T&& value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // REQUIRES: ok()
  T& operator*() { return std::get<0>(state_); }
  const T& operator*() const { return std::get<0>(state_); }
  T* operator->() { return &**this; }
  const T* operator->() const { return &**this; }
  // REQUIRES: !ok()
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  // REQUIRES: !ok()
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

// `what`, a colon, the text of the system error `number` (an errno value), and `rest`.
Error system_error(Code code, std::string_view what, int number, std::string_view rest = "");

// Whether the system call that failed with `number` lacked something that may be there again later:
// descriptors, memory, room on the disk.
bool is_shortage(int number);

// The code of an Error about something that a program needs when it starts, and that a system call
// refused with `number`: kIo for a shortage, else kConfig.
Code setup_code(int number);

}  // namespace counterd
