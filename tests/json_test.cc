#include "common/json.h"

#include "common/quote.h"
#include "tests/catch.h"

namespace counterd {
namespace {

using namespace std::string_view_literals;

std::string as_json(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace

TEST_CASE("a flat object gives its members in their order", "[json]") {
  const Result<FlatObject> members =
      parse_flat_object(R"( { "name" : "a.b", "by":-5,"clamp":true , "other":false,"empty":"" } )");
  REQUIRE(members);
  CHECK(*members ==
        FlatObject{
            {"name", "a.b"}, {"by", "-5"}, {"clamp", "true"}, {"other", "false"}, {"empty", ""}});
  CHECK(parse_flat_object("{}")->empty());
  CHECK(parse_flat_object(" \t\r\n{ } \n")->empty());
}

TEST_CASE("integers of the whole signed 64-bit range are exact", "[json]") {
  const Result<FlatObject> members = parse_flat_object(
      R"({"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993,"d":0})");
  REQUIRE(members);
  CHECK(*members == FlatObject{{"a", "9223372036854775807"},
                               {"b", "-9223372036854775808"},
                               {"c", "9007199254740993"},
                               {"d", "0"}});
}

TEST_CASE("strings are unescaped", "[json]") {
  const Result<FlatObject> members =
      parse_flat_object(R"({"\u0061":"\u00e4\n\"\\\/","b":"\ud83d\ude00","c":"a\u0000b"})");
  REQUIRE(members);
  CHECK(*members == FlatObject{{"a", "\xC3\xA4\n\"\\/"},
                               {"b", "\xF0\x9F\x98\x80"},
                               {"c", std::string("a\0b", 3)}});
}

TEST_CASE("whatever is not one flat object is refused", "[json]") {
  for (const std::string_view bad : {""sv,
                                     " "sv,
                                     "null"sv,
                                     "true"sv,
                                     "5"sv,
                                     "\"a\""sv,
                                     "[]"sv,
                                     "[{}]"sv,
                                     "{"sv,
                                     "}"sv,
                                     "{]"sv,
                                     "{\"a\"}"sv,
                                     "{\"a\":}"sv,
                                     "{\"a\":1,}"sv,
                                     "{,}"sv,
                                     "{a:1}"sv,
                                     "{'a':1}"sv,
                                     "{\"a\" 1}"sv,
                                     "{\"a\":1 \"b\":2}"sv,
                                     "{1:2}"sv,
                                     "{\"a\":{}}"sv,
                                     "{\"a\":{\"b\":1}}"sv,
                                     "{\"a\":[]}"sv,
                                     "{\"a\":[1]}"sv,
                                     "{\"a\":null}"sv,
                                     "{\"a\":1}x"sv,
                                     "{\"a\":1}{}"sv,
                                     "{\"a\":1},"sv,
                                     "{\"a\":1}}"sv,
                                     "{\"a\":tru}"sv,
                                     "{\"a\":True}"sv,
                                     "{\"a\":\"b}"sv,
                                     "{\"a\":\"\\x\"}"sv,
                                     "{\"a\":\"\\ud800\"}"sv,
                                     "{\"a\":\"b\nc\"}"sv,
                                     "{/**/\"a\":1}"sv,
                                     "{\"a\":1}//"sv,
                                     "{\"a\":\"\xFF\"}"sv,
                                     "{\"\xC3\":1}"sv,
                                     "{\"a\":1,\"a\":1}"sv,
                                     "{\"a\":1,\"b\":2,\"a\":3}"sv,
                                     "{\"a\":1,\"\\u0061\":2}"sv,
                                     "{\"a\":1}\0"sv,
                                     "{\"a\":1}\0{\"b\":2}"sv,
                                     "\0{}"sv}) {
    CAPTURE(quote_for_people(bad));
    const Result<FlatObject> members = parse_flat_object(bad);
    REQUIRE_FALSE(members);
    CHECK(members.error().code == Code::kBadBody);
    CHECK(members.error().message.find('\n') == std::string::npos);
  }
}

TEST_CASE("an object with a list gives the list's objects as they come, then its members",
          "[json]") {
  std::vector<FlatObject> taken;
  const auto take = [&](FlatObject& object) -> Result<void> {
    taken.push_back(object);
    return {};
  };
  const Result<FlatObject> members = parse_object_with_list(
      R"({"a":1,"list":[{"b":2,"c":"x"},{},{"b":3}],"d":true})", "list", take);
  REQUIRE(members);
  CHECK(*members == FlatObject{{"a", "1"}, {"list", ""}, {"d", "true"}});
  CHECK(taken == std::vector<FlatObject>{{{"b", "2"}, {"c", "x"}}, {}, {{"b", "3"}}});
  CHECK(parse_object_with_list(R"({"list":[]})", "list", take));
  CHECK(parse_object_with_list("{}", "list", take));
  for (const char* bad :
       {"[]", "5", R"({"list":1})", R"({"list":"x"})", R"({"list":{}})", R"({"list":[1]})",
        R"({"list":[[]]})", R"({"list":[{"a":{}}]})", R"({"list":[{"a":[]}]})", R"({"other":[]})",
        R"({"list":[{"list":[]}]})", R"({"list":[{}],"list":[{}]})", R"({"list":[{}})",
        R"({"list":[{"a":1,"a":2}]})"}) {
    CAPTURE(bad);
    const Result<FlatObject> read = parse_object_with_list(bad, "list", take);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == Code::kBadBody);
  }
}

TEST_CASE("what refuses an object of the list is the result, and ends the reading", "[json]") {
  int taken = 0;
  const Result<FlatObject> members =
      parse_object_with_list(R"({"list":[{},{},{}]})", "list", [&](FlatObject&) -> Result<void> {
        if (++taken == 2) return Error{Code::kBadName, "why"};
        return {};
      });
  REQUIRE_FALSE(members);
  CHECK(members.error().code == Code::kBadName);
  CHECK(taken == 2);
}

TEST_CASE("a number that is no 64-bit integer comes as it is written", "[json]") {
  for (const char* number :
       {"-0", "1.5", "1.0", "1e3", "1E3", "-1.5", "0.0", "-0.0", "18446744073709551616",
        "-9223372036854775809", "99999999999999999999"}) {
    CAPTURE(number);
    const Result<FlatObject> members = parse_flat_object(std::string("{\"by\":") + number + "}");
    REQUIRE(members);
    CHECK(*members == FlatObject{{"by", number}});
  }
}

TEST_CASE("what JSON does not call a number is refused", "[json]") {
  for (const char* bad :
       {"010", "+1", "0x10", "-", "1.", ".5", "--1", "NaN", "Infinity", "1e400"}) {
    CAPTURE(bad);
    const Result<FlatObject> members = parse_flat_object(std::string("{\"by\":") + bad + "}");
    REQUIRE_FALSE(members);
    CHECK(members.error().code == Code::kBadBody);
  }
}

TEST_CASE("deep nesting ends at its first level", "[json]") {
  CHECK_FALSE(parse_flat_object(std::string(1'000'000, '[')));
  CHECK_FALSE(parse_flat_object("{\"a\":" + std::string(1'000'000, '[')));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK_FALSE(parse_flat_object(objects));
}

TEST_CASE("an error names no more of a hostile name than a line holds", "[json]") {
  const std::string name(10'000, 'n');
  const Result<FlatObject> members = parse_flat_object("{\"" + name + "\":1,\"" + name + "\":2}");
  REQUIRE_FALSE(members);
  CHECK(members.error().message.size() < 200);
}

TEST_CASE("a JSON string holds whatever it was given", "[json]") {
  CHECK(as_json("") == "\"\"");
  CHECK(as_json("count") == "\"count\"");
  CHECK(as_json("a\"b\\c") == R"("a\"b\\c")");
  CHECK(as_json("\n\t\x01"sv) == R"("\n\t\u0001")");
  CHECK(as_json("a\0b"sv) == R"("a\u0000b")");
  CHECK(as_json("\xC3\xA4") == "\"\xC3\xA4\"");
  CHECK(as_json("\xFF") == "\"\xEF\xBF\xBD\"");
  std::string out = "x";
  append_json_string(out, "y");
  CHECK(out == "x\"y\"");
}

TEST_CASE("a member comes after a comma unless it is the first", "[json]") {
  std::string out = "{";
  append_json_member(out, "a", "{");
  append_json_member(out, "b", "\"");
  CHECK(out == R"({"a":"{","b":"\"")");
}

TEST_CASE("a string member is found, anything else is empty", "[json]") {
  CHECK(json_string_member(R"({"a":"b","c":{"a":"x"}})", "a") == "b");
  CHECK(json_string_member(R"({"a":5})", "a").empty());
  CHECK(json_string_member(R"({"a":"b"})", "b").empty());
  CHECK(json_string_member(R"(["a"])", "a").empty());
  CHECK(json_string_member("{", "a").empty());
  CHECK(json_string_member("", "a").empty());
}

TEST_CASE("a quotation for people is one short line of ASCII", "[json]") {
  CHECK(quote_for_people("count") == "'count'");
  CHECK(quote_for_people("") == "''");
  CHECK(quote_for_people("a\nb\x1b\x7f"sv) == R"('a\x0ab\x1b\x7f')");
  CHECK(quote_for_people("a\0b"sv) == R"('a\x00b')");
  CHECK(escape_controls("a\nb\x1b\x7f\xC2\x9B\xC2\x80\xC2\xA0\xC3\x84", "\n") ==
        "a\nb\\x1b\\x7f\\xc2\\x9b\\xc2\\x80\xC2\xA0\xC3\x84");
  CHECK(escape_controls("\xC2\x9F") == "\\xc2\\x9f");
  CHECK(escape_controls("\n\xC2") == "\\x0a\xC2");
  CHECK(quote_for_people("\xC3\xA4") == R"('\xc3\xa4')");
  CHECK(quote_for_people(std::string(64, 'x')) == "'" + std::string(64, 'x') + "'");
  const std::string cut = quote_for_people(std::string(65, 'x'));
  CHECK(cut.starts_with("'" + std::string(64, 'x')));
  CHECK(cut.size() < 72);
  CHECK(cut != "'" + std::string(65, 'x') + "'");
}

}  // namespace counterd
