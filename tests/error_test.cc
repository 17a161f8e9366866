#include "common/error.h"

#include <cerrno>
#include <memory>
#include <set>

#include "tests/catch.h"

namespace counterd {
namespace {

constexpr int kCodes = static_cast<int>(Code::kIo) + 1;
Code code_at(int place) {
  return static_cast<Code>(place);
}

}  // namespace

TEST_CASE("every code has its own stable type, and the type of a problem leads back to it",
          "[error]") {
  std::set<std::string> types;
  for (int i = 0; i < kCodes; ++i) {
    const CodeInfo& info = code_info(code_at(i));
    CAPTURE(info.type);
    CHECK(info.code == code_at(i));
    CHECK_FALSE(info.title.empty());
    CHECK_FALSE(info.type.empty());
    CHECK(info.type.find_first_not_of("abcdefghijklmnopqrstuvwxyz-") == std::string_view::npos);
    const std::string type = problem_type(code_at(i));
    CHECK(type == "urn:counterd:error:" + std::string(info.type));
    CHECK(types.insert(type).second);
    const bool is_problem = code_at(i) != Code::kOk;
    CHECK(code_of_problem_type(type) == (is_problem ? std::optional(code_at(i)) : std::nullopt));
  }
}

TEST_CASE("a type that is not ours leads to no code", "[error]") {
  for (const char* type : {"", "about:blank", "unknown-outcome", "urn:counterd:error:",
                           "urn:counterd:error:nothing", "urn:counterd:error:unknown-outcome ",
                           "URN:counterd:error:unknown-outcome", "urn:counterd:error"}) {
    CAPTURE(type);
    CHECK_FALSE(code_of_problem_type(type).has_value());
  }
}

TEST_CASE("exit statuses keep what scripts rely on", "[error]") {
  for (int i = 0; i < kCodes; ++i) {
    const CodeInfo& info = code_info(code_at(i));
    CAPTURE(info.type);
    CHECK((info.exit_status == 0) == (info.code == Code::kOk));
    const bool limit = info.code == Code::kOutOfRange || info.code == Code::kBeyondBound ||
                       info.code == Code::kLimitReached;
    CHECK((info.exit_status == 1) == limit);
    CHECK((info.exit_status == 2) == (info.code == Code::kMissing));
    CHECK((info.exit_status == 75) == (info.code == Code::kUnknown));
    const std::set<int> documented = {0, 1, 2, 64, 65, 69, 74, 75, 77, 78};
    CHECK(documented.count(info.exit_status) == 1);
  }
  CHECK(code_info(Code::kUsage).exit_status == 64);
  CHECK(code_info(Code::kBadName).exit_status == 65);
  CHECK(code_info(Code::kBadNumber).exit_status == 65);
  CHECK(code_info(Code::kUnavailable).exit_status == 69);
  CHECK(code_info(Code::kOverloaded).exit_status == 69);
  CHECK(code_info(Code::kIo).exit_status == 74);
  CHECK(code_info(Code::kForbidden).exit_status == 77);
  CHECK(code_info(Code::kConfig).exit_status == 78);
}

TEST_CASE("HTTP statuses keep what clients rely on", "[error]") {
  for (int i = 0; i < kCodes; ++i) {
    const CodeInfo& info = code_info(code_at(i));
    CAPTURE(info.type);
    CHECK((info.http_status == 200) == (info.code == Code::kOk));
    CHECK((info.code == Code::kOk || (info.http_status >= 400 && info.http_status < 600)));
  }
  CHECK(code_info(Code::kBadName).http_status == 400);
  CHECK(code_info(Code::kForbidden).http_status == 403);
  CHECK(code_info(Code::kMissing).http_status == 404);
  CHECK(code_info(Code::kNoRoute).http_status == 404);
  CHECK(code_info(Code::kMethodNotAllowed).http_status == 405);
  CHECK(code_info(Code::kRequestTimeout).http_status == 408);
  CHECK(code_info(Code::kOutOfRange).http_status == 409);
  CHECK(code_info(Code::kBeyondBound).http_status == 409);
  CHECK(code_info(Code::kLengthRequired).http_status == 411);
  CHECK(code_info(Code::kBodyTooLarge).http_status == 413);
  CHECK(code_info(Code::kTargetTooLong).http_status == 414);
  CHECK(code_info(Code::kUnsupportedMediaType).http_status == 415);
  CHECK(code_info(Code::kExpectationFailed).http_status == 417);
  CHECK(code_info(Code::kHeadTooLarge).http_status == 431);
  for (const Code code : {Code::kOverloaded, Code::kUnavailable, Code::kUnknown}) {
    CHECK(code_info(code).http_status == 503);
  }
  CHECK(code_info(Code::kStoreFull).http_status == 507);
}

TEST_CASE("a result is a value or an error", "[error]") {
  const Result<int> value = 7;
  CHECK(value.ok());
  CHECK(*value == 7);
  const Result<int> failed = Error{Code::kMissing, "not there"};
  CHECK_FALSE(failed.ok());
  CHECK(failed.error().code == Code::kMissing);
  CHECK(failed.error().message == "not there");
  Result<std::unique_ptr<int>> owned = std::make_unique<int>(3);
  const std::unique_ptr<int> taken = std::move(*owned);
  CHECK(*taken == 3);
  CHECK(Result<void>().ok());
  CHECK(Result<void>(Error{Code::kIo, "x"}).error().code == Code::kIo);
}

TEST_CASE("a system error tells what failed and why", "[error]") {
  const Error error = system_error(Code::kConfig, "cannot open /x", ENOENT);
  CHECK(error.code == Code::kConfig);
  CHECK(error.message == "cannot open /x: No such file or directory");
}

}  // namespace counterd
