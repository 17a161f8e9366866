#include "common/operation_text.h"

#include "common/json.h"
#include "tests/catch.h"
#include "tests/steps.h"

using namespace counterd;

namespace {

Result<Operation> read(std::string_view json) {
  return read_operation(*parse_flat_object(json));
}

Code code_of(std::string_view json) {
  const Result<Operation> operation = read(json);
  return operation ? Code::kOk : operation.error().code;
}

}  // namespace

TEST_CASE("an operation reads as it was written") {
  const std::vector<Step> steps = {
      increment_of("a"),
      increment_of("a:b.c", -5),
      within(increment_of("a", 3), -1, 2, true),
      within(increment_of("a", 3), {}, INT64_MAX),
      starting_at(INT64_MIN, increment_of("a")),
      reset_of("a", INT64_MIN),
      ending_in(std::chrono::hours(1), increment_of("a")),
      ending_in(std::chrono::milliseconds(1), increment_of("a"), true),
      per(Period::kWeek, increment_of("a"), ""),
      checking(within(per(Period::kDay, increment_of("a"), "Etc/GMT+5"), {}, 5)),
      existing(reset_of("a", 5)),
      delete_of("a"),
      report_of("a"),
  };
  for (const Step& step : steps) {
    const std::string json = to_json(step.operation);
    CAPTURE(json);
    const Result<Operation> again = read(json);
    REQUIRE(again);
    CHECK(again->kind == step.operation.kind);
    CHECK(again->name == step.operation.name);
    CHECK(identity_of(*again) == identity_of(step.operation));
  }
  CHECK(to_json(steps[2].operation) ==
        R"({"op":"increment","name":"a","by":3,"min":-1,"max":2,"on_limit":"clamp"})");
}

TEST_CASE("what is left out of an operation has its default") {
  CHECK(read(R"({"op":"increment","name":"a"})")->operand == 1);
  CHECK(read(R"({"op":"reset","name":"a"})")->operand == 0);
  CHECK(read(R"({"name":"a","op":"report"})")->kind == OperationKind::kReport);
}

TEST_CASE("an operation that is not right is refused") {
  CHECK(code_of("{}") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment"})") == Code::kBadParameter);
  CHECK(code_of(R"({"name":"a"})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"add","name":"a"})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment","name":""})") == Code::kBadName);
  CHECK(code_of(R"({"op":"increment","name":"a b"})") == Code::kBadName);
  CHECK(code_of(R"({"op":"increment","name":"a","by":1.5})") == Code::kBadNumber);
  CHECK(code_of(R"({"op":"increment","name":"a","by":"010"})") == Code::kBadNumber);
  CHECK(code_of(R"({"op":"increment","name":"a","max":9223372036854775808})") == Code::kBadNumber);
  CHECK(code_of(R"({"op":"increment","name":"a","min":2,"max":1})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment","name":"a","on_limit":"clamp"})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment","name":"a","on_limit":"stop","max":1})") ==
        Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment","name":"a","to":1})") == Code::kBadParameter);
  for (const char* ttl : {"0s", "-1s", "5", "1.5h", "1w", "366d", "1000000000000d", ""}) {
    CAPTURE(ttl);
    CHECK(code_of(R"({"op":"increment","name":"a","ttl":")" + std::string(ttl) + "\"}") ==
          Code::kBadNumber);
  }
  CHECK(code_of(R"({"op":"increment","name":"a","ttl_mode":"renew"})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment","name":"a","ttl":"1s","ttl_mode":"always"})") ==
        Code::kBadParameter);
  CHECK(code_of(R"({"op":"reset","name":"a","ttl":"1s"})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"reset","name":"a","create":1})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"increment","name":"a","create":true})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"report","name":"a","by":1})") == Code::kBadParameter);
}

TEST_CASE("a window is a period and perhaps a time zone, and excludes a time to live") {
  const auto lifetime = [](std::string_view members) {
    return read(R"({"op":"increment","name":"a")" + std::string(members) + "}");
  };
  CHECK(lifetime(R"(,"per":"day")")->lifetime.window == Window{Period::kDay, ""});
  CHECK(lifetime(R"(,"per":"year","timezone":"Asia/Tokyo")")->lifetime.window ==
        Window{Period::kYear, "Asia/Tokyo"});
  for (const char* bad :
       {R"(,"per":"")", R"(,"per":"decade")", R"(,"per":"Day")", R"(,"per":1)",
        R"(,"timezone":"UTC")", R"(,"per":"day","timezone":"")", R"(,"per":"day","timezone":"a b")",
        R"(,"per":"day","timezone":"a\"b")", R"(,"per":"day","ttl":"1h")",
        R"(,"per":"day","ttl_mode":"renew")", R"(,"check":"yes")", R"(,"check":1)"}) {
    CAPTURE(bad);
    CHECK(lifetime(bad).error().code == Code::kBadParameter);
  }
  CHECK(lifetime(R"(,"per":"day","timezone":")" + std::string(65, 'x') + '"').error().code ==
        Code::kBadParameter);
  CHECK(lifetime(R"(,"check":true)")->check);
  CHECK(code_of(R"({"op":"reset","name":"a","per":"day"})") == Code::kBadParameter);
  CHECK(code_of(R"({"op":"report","name":"a","check":true})") == Code::kBadParameter);
}
