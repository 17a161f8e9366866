#include "daemon/api.h"

#include "common/limits.h"
#include "tests/catch.h"
#include "tests/steps.h"

namespace counterd {
namespace {

ApiOptions local() {
  ApiOptions options;
  options.senders.hosts = {"localhost", "127.0.0.1"};
  return options;
}

Decoded decode_text(const std::string& text, const std::string& body, const ApiOptions& options) {
  const auto head = read_request_head(text);
  REQUIRE(head.ok());
  REQUIRE(head->has_value());
  return decode(**head, body, options);
}

Decoded decode_request(const std::string& line, const std::string& body = {},
                       const std::string& fields = {}, const ApiOptions& options = local()) {
  const bool has_host = fields.find("Host:") != std::string::npos;
  const std::string host = has_host ? "" : "Host: localhost:4747\r\n";
  return decode_text(line + " HTTP/1.1\r\n" + host + fields + "\r\n", body, options);
}

const Operation& operation_of(const Decoded& decoded) {
  const auto* question = std::get_if<Question>(&decoded.result);
  REQUIRE(question != nullptr);
  const auto* operation = std::get_if<Operation>(question);
  REQUIRE(operation != nullptr);
  return *operation;
}

// The status and the last part of the problem type.
std::string refusal_of(const Decoded& decoded) {
  const auto* response = std::get_if<Response>(&decoded.result);
  REQUIRE(response != nullptr);
  CHECK(response->content_type == "application/problem+json");
  const std::string start = R"({"type":"urn:counterd:error:)";
  REQUIRE(response->body.starts_with(start));
  return std::to_string(response->status) + " " +
         response->body.substr(start.size(), response->body.find('"', start.size()) - start.size());
}

constexpr const char* kJson = "Content-Type: application/json\r\n";
constexpr const char* kForm = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";

TEST_CASE("an increment adds 1, or what the query, a form or JSON says") {
  const std::string line = "POST /v1/counters/hits/increment";
  for (const Decoded& decoded :
       {decode_request(line + "?by=-7"), decode_request(line, "by=-7", kForm),
        decode_request(line, R"({"by":-7})", kJson), decode_request(line, R"({"by":"-7"})", kJson),
        decode_request(line, R"({"by":-7})", "Content-Type: Application/JSON\r\n")}) {
    const Operation& operation = operation_of(decoded);
    CHECK(operation.kind == OperationKind::kIncrement);
    CHECK(operation.name == "hits");
    CHECK(operation.operand == -7);
  }
  CHECK(operation_of(decode_request(line)).operand == 1);
  CHECK(operation_of(decode_request(line, "", kForm)).operand == 1);
  CHECK(operation_of(decode_request(line, "{}", kJson)).operand == 1);
}

TEST_CASE("each route is the operation it names") {
  CHECK(operation_of(decode_request("GET /v1/counters/a")).kind == OperationKind::kReport);
  CHECK(operation_of(decode_request("HEAD /v1/counters/a")).kind == OperationKind::kReport);
  CHECK(operation_of(decode_request("DELETE /v1/counters/a")).kind == OperationKind::kDelete);
  const Operation reset = operation_of(decode_request("POST /v1/counters/a/reset?to=9"));
  CHECK(reset.kind == OperationKind::kReset);
  CHECK(reset.operand == 9);
  CHECK(operation_of(decode_request("POST /v1/counters/a/reset")).operand == 0);
  CHECK(operation_of(decode_request("POST /increment")).name == "count");
  CHECK(operation_of(decode_request("POST /reset")).name == "count");
  CHECK(operation_of(decode_request("GET /report")).name == "count");
}

TEST_CASE("the whole signed 64-bit range comes through every way in") {
  for (const std::string number : {"9223372036854775807", "-9223372036854775808"}) {
    const std::string line = "POST /v1/counters/a/reset";
    CHECK(std::to_string(operation_of(decode_request(line + "?to=" + number)).operand) == number);
    CHECK(std::to_string(operation_of(decode_request(line, "to=" + number, kForm)).operand) ==
          number);
    CHECK(std::to_string(
              operation_of(decode_request(line, R"({"to":)" + number + "}", kJson)).operand) ==
          number);
  }
}

TEST_CASE("a number that is not written plainly is refused") {
  const std::string line = "POST /v1/counters/a/increment";
  for (const std::string bad : {"010", "1e3", "0x10", "%2B5", "9223372036854775808",
                                "-9223372036854775809", "", "%201", "1%00", "-", "--1", "-0"}) {
    INFO(bad);
    CHECK(refusal_of(decode_request(line + "?by=" + bad)) == "400 bad-number");
    CHECK(refusal_of(decode_request(line, "by=" + bad, kForm)) == "400 bad-number");
  }
  for (const std::string bad : {"1.0", "1e3", "9223372036854775808", "true", "\"\""}) {
    INFO(bad);
    CHECK(refusal_of(decode_request(line, R"({"by":)" + bad + "}", kJson)) == "400 bad-number");
  }
}

TEST_CASE("a name that is none is refused, however it is written") {
  for (const std::string& bad :
       {std::string(), std::string(129, 'a'), std::string("..%2Fx"), std::string("a%2Fb"),
        std::string("a%00b"), std::string("%C3%A9"), std::string("-a"), std::string("a%20b"),
        std::string("a%"), std::string("a%zz")}) {
    INFO(bad);
    CHECK(refusal_of(decode_request("POST /v1/counters/" + bad + "/increment")) == "400 bad-name");
  }
  CHECK(refusal_of(decode_request("GET /v1/counters/")) == "400 bad-name");
  CHECK(refusal_of(decode_request("POST /v1/counters/../x/increment")) == "404 no-route");
  CHECK(operation_of(decode_request("GET /v1/counters/" + std::string(128, 'a'))).name.size() ==
        128);
  CHECK(operation_of(decode_request("GET /v1/counters/a%3Ab")).name == "a:b");
}

TEST_CASE("unknown routes are 404, known paths with other methods 405 with Allow") {
  for (const std::string path : {"/", "/v1", "/v1/counters/a/b", "/v2/counters", "/Increment",
                                 "/v1/counters/a/increment/", "//increment", "/v1/batches"}) {
    INFO(path);
    CHECK(refusal_of(decode_request("POST " + path)) == "404 no-route");
  }
  const Decoded lost = decode_request("POST /api/v1/batch?x=1");
  CHECK(std::get<Response>(lost.result).body.find("'/api/v1/batch'") != std::string::npos);
  const Decoded decoded = decode_request("PUT /v1/counters/a");
  CHECK(refusal_of(decoded) == "405 method-not-allowed");
  CHECK(std::get<Response>(decoded.result).fields == "Allow: GET, HEAD, DELETE\r\n");
  CHECK(refusal_of(decode_request("GET /v1/counters/a/increment")) == "405 method-not-allowed");
  CHECK(refusal_of(decode_request("OPTIONS /report")) == "405 method-not-allowed");
}

TEST_CASE("a parameter is known and given once") {
  const std::string line = "POST /v1/counters/a/increment";
  CHECK(refusal_of(decode_request(line + "?bye=1")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(line + "?by=1&by=1")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(line + "?by=1", "by=1", kForm)) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(line + "?by=1", R"({"by":1})", kJson)) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(line, R"({"by":1,"by":1})", kJson)) == "400 bad-body");
  CHECK(refusal_of(decode_request(line, R"({"to":1})", kJson)) == "400 bad-parameter");
  CHECK(refusal_of(decode_request("GET /report?x=1")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request("GET /livez?x")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(line + "?by=%4")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(line + "?by=%zz")) == "400 bad-parameter");
}

TEST_CASE("too many parameters are refused before they are compared with each other") {
  const std::string line = "POST /v1/counters/a/increment";
  std::string query = "?a0=0";
  std::string json = R"({"a0":0)";
  for (std::size_t i = 1; i <= kMaxParameters; ++i) {
    query += "&a" + std::to_string(i) + "=0";
    json += ",\"a" + std::to_string(i) + "\":0";
  }
  const Decoded in_query = decode_request(line + query);
  CHECK(refusal_of(in_query) == "400 bad-parameter");
  CHECK(std::get<Response>(in_query.result).body.find("more than") != std::string::npos);
  const Decoded decoded = decode_request(line, json + "}", kJson);
  CHECK(refusal_of(decoded) == "400 bad-body");
  CHECK(std::get<Response>(decoded.result).body.find("too many") != std::string::npos);
}

TEST_CASE("a list page that is empty can have another after it") {
  const Decoded decoded = decode_request("GET /v1/counters?limit=1");
  ListPage page;
  page.next = "a";
  CHECK(encode(decoded.call, Result<ListPage>(page), {}).body ==
        "{\"counters\":[],\"next\":\"a\"}\n");
}

TEST_CASE("a body that is not a flat JSON object or a form is refused") {
  const std::string line = "POST /v1/counters/a/increment";
  for (const std::string bad : {"{", "[]", "1", "null", "{\"by\":[1]}", "{\"by\":{}}",
                                "{\"by\":null}", "{\"by\":1}x", "{'by':1}", "\xff"}) {
    INFO(bad);
    CHECK(refusal_of(decode_request(line, bad, kJson)) == "400 bad-body");
  }
  CHECK(refusal_of(decode_request(line, "by=1")) == "415 unsupported-media-type");
  CHECK(refusal_of(decode_request(line, "by=1", "Content-Type: text/plain\r\n")) ==
        "415 unsupported-media-type");
  CHECK(refusal_of(decode_request(line, R"({"by":1})", kForm)) == "415 unsupported-media-type");
  CHECK(refusal_of(decode_request("GET /report", "by=1", kForm)) == "400 bad-body");
  CHECK(refusal_of(decode_request("HEAD /report", "by=1", kForm)) == "400 bad-body");
}

TEST_CASE("only addresses of ours are a Host") {
  for (const std::string good : {"localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:4747"}) {
    operation_of(decode_request("GET /report", "", "Host: " + good + "\r\n"));
  }
  for (const std::string bad : {"evil.example", "localhost.evil.example", "127.0.0.2", "[::1]", "",
                                "10.0.0.1:4747", "EVIL.example:80", "a_b~!$&'()*+,;=%20"}) {
    INFO(bad);
    CHECK(refusal_of(decode_request("GET /report", "", "Host: " + bad + "\r\n")) ==
          "403 forbidden");
  }
  ApiOptions anywhere = local();
  anywhere.senders.any_address = true;
  operation_of(decode_request("GET /report", "", "Host: [2001:db8::1]:80\r\n", anywhere));
  operation_of(decode_request("GET /report", "", "Host: [fe80::1%eth0]:80\r\n", anywhere));
  CHECK(refusal_of(decode_request("GET /report", "", "Host: evil.example\r\n", anywhere)) ==
        "403 forbidden");
  ApiOptions named = local();
  named.senders.hosts.emplace_back("counter.example");
  operation_of(decode_request("GET /report", "", "Host: Counter.example:80\r\n", named));
}

TEST_CASE("a Host that is no host at all is a malformed request") {
  for (const std::string bad :
       {"[::1", "[localhost]evil.example", "localhost:1@evil.example", "127.0.0.1:x",
        "127.0.0.1:1:2", "[localhost]x", "[localhost]x80", "a b", "localhost/a", "a@localhost",
        "localhost, evil.example", "\xc3\xa4.example", ":80", "[]", "]"}) {
    INFO(bad);
    CHECK(refusal_of(decode_request("GET /report", "", "Host: " + bad + "\r\n")) ==
          "400 bad-request");
    CHECK(refusal_of(decode_request("GET /none", "", "Host: " + bad + "\r\n")) ==
          "400 bad-request");
  }
  CHECK(refusal_of(decode_request("GET http://a@localhost/report")) == "400 bad-request");
  CHECK(refusal_of(decode_text("GET /report HTTP/1.0\r\nHost: a b\r\n\r\n", "", local())) ==
        "400 bad-request");
}

TEST_CASE("a daemon has the names that it listens by, and every address where it listens on all") {
  const auto takes = [](const SenderRules& rules, std::string_view host) {
    RequestHead head;
    head.host = host;
    return check_sender(head, rules, true).ok();
  };
  const SenderRules one =
      sender_rules({"allowed.example"}, {{"Named.example", 80, ""}, {"", 0, "/run/socket"}},
                   {{"192.0.2.1", 80, ""}, {"FE80::1%eth0", 80, ""}, {"", 0, "/run/socket"}});
  for (const char* host : {"localhost", "allowed.example", "named.example:80", "192.0.2.1",
                           "[fe80::1%eth0]:80", "[fe80::1]:80"}) {
    INFO(host);
    CHECK(takes(one, host));
  }
  for (const char* host : {"", "192.0.2.2", "[::1]", "evil.example"}) {
    INFO(host);
    CHECK_FALSE(takes(one, host));
  }
  for (const char* all : {"0.0.0.0", "::"}) {
    INFO(all);
    const SenderRules rules = sender_rules({}, {{"all.example", 80, ""}}, {{all, 80, ""}});
    CHECK(takes(rules, "192.0.2.2:80"));
    CHECK(takes(rules, "[2001:db8::1]:80"));
    CHECK_FALSE(takes(rules, "evil.example"));
  }
}

TEST_CASE("HTTP/1.0 may leave the Host away, but not name another one") {
  operation_of(decode_text("GET /report HTTP/1.0\r\n\r\n", "", local()));
  operation_of(decode_text("GET /report HTTP/1.0\r\nHost: localhost\r\n\r\n", "", local()));
  CHECK(refusal_of(decode_text("GET /report HTTP/1.0\r\nHost: evil.example\r\n\r\n", "",
                               local())) == "403 forbidden");
}

TEST_CASE("a request that a browser sends for a site changes nothing") {
  for (const std::string fields :
       {"Origin: http://localhost:4747\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n"}) {
    INFO(fields);
    CHECK(refusal_of(decode_request("POST /increment", "", fields)) == "403 forbidden");
    CHECK(refusal_of(decode_request("DELETE /v1/counters/a", "", fields)) == "403 forbidden");
    operation_of(decode_request("GET /report", "", fields));
  }
  operation_of(decode_request("POST /increment", "", "Sec-Fetch-Site: none\r\n"));
}

TEST_CASE("GET changes something only where that was asked for, and on the seed paths alone") {
  CHECK(refusal_of(decode_request("GET /increment")) == "405 method-not-allowed");
  ApiOptions lenient = local();
  lenient.allow_get_writes = true;
  CHECK(operation_of(decode_request("GET /increment", "", "", lenient)).kind ==
        OperationKind::kIncrement);
  CHECK(operation_of(decode_request("GET /reset", "", "", lenient)).kind == OperationKind::kReset);
  CHECK(refusal_of(decode_request("GET /v1/counters/a/increment", "", "", lenient)) ==
        "405 method-not-allowed");
  CHECK(refusal_of(decode_request("GET /increment", "", "Origin: x\r\n", lenient)) ==
        "403 forbidden");
  for (const std::string path : {"/increment", "/reset"}) {
    INFO(path);
    const Decoded decoded = decode_request("HEAD " + path, "", "", lenient);
    CHECK(refusal_of(decoded) == "405 method-not-allowed");
    CHECK(std::get<Response>(decoded.result).fields == "Allow: POST, GET\r\n");
  }
}

TEST_CASE("a list has a prefix, a place to go on from and a limit") {
  const Decoded decoded = decode_request("GET /v1/counters?prefix=a.&after=a.b&limit=7");
  const auto& query = std::get<ListQuery>(std::get<Question>(decoded.result));
  CHECK(query.prefix == "a.");
  CHECK(query.after == "a.b");
  CHECK(query.limit == 7);
  const Decoded plain = decode_request("GET /v1/counters");
  CHECK(std::get<ListQuery>(std::get<Question>(plain.result)).limit == 100);
  CHECK(refusal_of(decode_request("GET /v1/counters?limit=0")) == "400 bad-number");
  CHECK(refusal_of(decode_request("GET /v1/counters?limit=1001")) == "400 bad-number");
  CHECK(refusal_of(decode_request("GET /v1/counters?prefix=%2F")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request("GET /v1/counters?after=%2F")) == "400 bad-parameter");
}

Answer answer(const Operation& operation, Outcome outcome) {
  return Step{operation, outcome};
}

std::string body_of(const std::string& line, const Outcome& outcome,
                    const std::string& fields = {}) {
  const Decoded decoded = decode_request(line, "", fields);
  Figures figures;
  figures.pid = 42;
  return encode(decoded.call, answer(operation_of(decoded), outcome), figures).body;
}

TEST_CASE("outcomes read as the interface says") {
  Outcome outcome;
  outcome.value = -9223372036854775807 - 1;
  outcome.created_at_ms = 1;
  outcome.updated_at_ms = 1'700'000'000'007;
  CHECK(body_of("POST /v1/counters/a/increment?by=-3", outcome) ==
        "{\"name\":\"a\",\"value\":-9223372036854775808,\"applied\":-3}\n");
  CHECK(
      body_of("GET /v1/counters/a", outcome) ==
      "{\"name\":\"a\",\"value\":-9223372036854775808,\"created_at\":\"1970-01-01T00:00:00.001Z\","
      "\"updated_at\":\"2023-11-14T22:13:20.007Z\",\"expires_at\":null}\n");
  outcome.expires_at_ms = 1'700'000'000'008;
  CHECK(contains(body_of("GET /v1/counters/a", outcome),
                 R"("expires_at":"2023-11-14T22:13:20.008Z"})"));
  CHECK(body_of("POST /v1/counters/a/reset?to=5", outcome) ==
        "{\"name\":\"a\",\"value\":-9223372036854775808,\"previous\":null}\n");
  outcome.previous = 7;
  outcome.value = 7;
  CHECK(body_of("DELETE /v1/counters/a", outcome) == "{\"name\":\"a\",\"previous\":7}\n");
  CHECK(body_of("GET /report", outcome) == "{\"count\":7,\"current_process_id\":42}\n");
}

TEST_CASE("an increment has a time to live, fixed or renewed") {
  using namespace std::chrono_literals;
  const auto lifetime_of = [](const std::string& query) {
    return operation_of(decode_request("POST /v1/counters/a/increment" + query)).lifetime;
  };
  CHECK_FALSE(lifetime_of("").ttl.has_value());
  CHECK(lifetime_of("?ttl=90s") == Lifetime{90s, false, {}});
  CHECK(lifetime_of("?ttl=15m&ttl_mode=create") == Lifetime{15min, false, {}});
  CHECK(lifetime_of("?ttl_mode=renew&ttl=7d") == Lifetime{168h, true, {}});
  for (const char* bad : {"?ttl=0s", "?ttl=90", "?ttl=366d"}) {
    CHECK(refusal_of(decode_request("POST /increment" + std::string(bad))) == "400 bad-number");
  }
  for (const char* bad : {"?ttl_mode=renew", "?ttl=1s&ttl_mode=x", "?ttl=1s&ttl=1s"}) {
    CHECK(refusal_of(decode_request("POST /increment" + std::string(bad))) == "400 bad-parameter");
  }
  CHECK(refusal_of(decode_request("POST /reset?ttl=1s")) == "400 bad-parameter");
}

TEST_CASE("an increment has a window of the calendar, by default of the server's time zone") {
  const auto window_of = [](const std::string& query) {
    return operation_of(decode_request("POST /v1/counters/a/increment" + query)).lifetime.window;
  };
  CHECK_FALSE(window_of("").has_value());
  Window of_system{Period::kDay};
  REQUIRE(resolve_timezone(of_system));
  CHECK(window_of("?per=day") == of_system);
  CHECK(window_of("?per=week&timezone=Asia/Tokyo") == Window{Period::kWeek, "Asia/Tokyo"});
  CHECK(window_of("?per=hour&timezone=Etc%2FGMT%2B5") == Window{Period::kHour, "Etc/GMT+5"});
  for (const char* bad : {"?per=", "?per=decade", "?per=Day", "?timezone=UTC",
                          "?per=day&timezone=", "?per=day&timezone=Mars/Olympus",
                          "?per=day&timezone=../../etc/passwd", "?per=day&timezone=a%20b",
                          "?per=day&ttl=1h", "?per=day&ttl=1h&ttl_mode=renew",
                          "?per=day&ttl_mode=renew", "?per=day&per=day", "?check=", "?check=1"}) {
    CAPTURE(bad);
    CHECK(refusal_of(decode_request("POST /increment" + std::string(bad))) == "400 bad-parameter");
  }
  CHECK(refusal_of(decode_request("POST /reset?per=day")) == "400 bad-parameter");
  CHECK(refusal_of(decode_request(
            "POST /v1/batch",
            R"({"operations":[{"op":"increment","name":"a","per":"day","timezone":"Nowhere"}]})",
            kJson)) == "400 bad-parameter");
}

TEST_CASE("a check changes nothing, so it needs no key") {
  const Decoded decoded =
      decode_request("POST /v1/counters/a/increment?check=true", "", "Idempotency-Key: k\r\n");
  CHECK(operation_of(decoded).check);
  CHECK(operation_of(decoded).key.empty());
  Outcome outcome;
  outcome.value = 7;
  CHECK(body_of("POST /v1/counters/a/increment?check=true&by=3&max=9", outcome) ==
        "{\"name\":\"a\",\"value\":7,\"applied\":0,\"remaining\":2}\n");
}

TEST_CASE("a bound that refuses until a window ends is 429 and says when to come again") {
  Outcome outcome;
  outcome.value = 3;
  outcome.updated_at_ms = 1'700'000'000'000;
  outcome.expires_at_ms = 1'700'000'059'001;
  const auto answer = [&](const std::string& query) {
    const Decoded decoded = decode_request("POST /v1/counters/a/increment?timezone=UTC&" + query);
    return encode(decoded.call, Step{operation_of(decoded), outcome}, {});
  };
  CHECK(contains(answer("per=minute&max=4").body,
                 R"("applied":1,"remaining":1,"resets_at":"2023-11-14T22:14:19.001Z"})"));
  outcome.code = Code::kBeyondBound;
  const Response refused = answer("per=minute&max=5&by=3");
  CHECK(refused.status == 429);
  CHECK(contains(refused.body, "urn:counterd:error:limit-reached"));
  CHECK(contains(refused.body,
                 R"("value":3,"bound":5,"would_be":6,"remaining":2,"resets_at":"2023)"));
  CHECK(contains(refused.body, "begins anew at 2023-11-14T22:14:19.001Z"));
  CHECK(refused.fields ==
        "Retry-After: 60\r\nRateLimit-Policy: \"minute\";q=5;w=60\r\n"
        "RateLimit: \"minute\";r=2;t=60\r\n");
  CHECK(contains(answer("per=month&max=3").fields,
                 "RateLimit-Policy: \"month\";q=3\r\nRateLimit: \"month\";r=0;t=60\r\n"));
  CHECK(contains(answer("per=day&by=-4&min=0&initial=10").fields,
                 "\"day\";q=10;w=86400\r\nRateLimit: \"day\";r=3;t=60\r\n"));
  CHECK(contains(answer("per=day&max=9223372036854775806&by=9223372036854775806").fields,
                 ";q=999999999999999;"));
  CHECK(answer("per=day&by=-1&max=1").fields == "Retry-After: 60\r\n");
  // What no window has room for, no waiting helps.
  CHECK(answer("per=day&max=3&by=4").status == 409);
  CHECK(contains(answer("per=day&max=3&by=4").body, R"("resets_at":"2023)"));
  // Without a window there is no moment from which on it will be allowed.
  const Decoded plain = decode_request("POST /increment?max=3");
  CHECK(encode(plain.call, Step{operation_of(plain), outcome}, {}).status == 409);

  const Decoded batch = decode_request(
      "POST /v1/batch",
      R"({"atomic":true,"operations":[{"op":"increment","name":"a","max":3,"per":"day"}]})", kJson);
  Outcome group;
  group.code = Code::kBeyondBound;
  group.members.push_back(outcome);
  const Response whole = encode(batch.call, Step{operation_of(batch), group}, {});
  CHECK(whole.status == 429);
  CHECK(contains(whole.body, R"("index":0,"value":3)"));
  CHECK(contains(whole.fields, "Retry-After: 60\r\n"));
}

TEST_CASE("a batch is a group of operations, each for itself unless it is atomic") {
  const std::string operations =
      R"("operations":[{"op":"increment","name":"a","by":-2,"min":0},{"op":"reset","name":"b"},)"
      R"({"name":"c","op":"delete"},{"op":"report","name":"a"}])";
  const Decoded each = decode_request("POST /v1/batch", "{" + operations + "}", kJson);
  CHECK(operation_of(each).kind == OperationKind::kEach);
  CHECK(operation_of(
            decode_request("POST /v1/batch", R"({"atomic":false,)" + operations + "}", kJson))
            .kind == OperationKind::kEach);
  const Operation all =
      operation_of(decode_request("POST /v1/batch", "{" + operations + R"(,"atomic":true})",
                                  std::string(kJson) + "Idempotency-Key: k\r\n"));
  CHECK(all.kind == OperationKind::kAll);
  CHECK(all.key == "k");
  REQUIRE(all.members.size() == 4);
  const std::vector<std::string> texts = {"increment -2 min 0", "reset 0", "delete", "report"};
  const std::vector<std::string> names = {"a", "b", "c", "a"};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CHECK(identity_of(all.members[i]) == texts[i]);
    CHECK(all.members[i].name == names[i]);
  }
}

TEST_CASE("a batch that is not right is refused as a whole, and says which operation") {
  const auto refusal = [](const std::string& body, const std::string& fields = kJson) {
    return refusal_of(decode_request("POST /v1/batch", body, fields));
  };
  CHECK(refusal("", "") == "415 unsupported-media-type");
  CHECK(refusal("operations=1", kForm) == "415 unsupported-media-type");
  const std::string good = R"({"op":"increment","name":"a"})";
  const auto with = [&](const std::string& operation) {
    std::string text = R"({"operations":[)";
    return text.append(good).append(",").append(operation).append("]}");
  };
  for (const char* body :
       {"", "[]", "5", "{", R"({"operations":5})", R"({"operations":{}})", R"({"operations":[5]})",
        R"({"operations":[[]]})", R"({"operations":["increment"]})", R"({"operations":[null]})",
        R"({"operations":[{"op":{}}]})", R"({"operations":[],"operations":[]})",
        R"({"operations":[{"op":"report","name":"a"}],"atomic":[]})",
        R"({"operations":[{"op":"report","name":"a"}],"atomic":null})"}) {
    CAPTURE(body);
    CHECK(refusal(body) == "400 bad-body");
  }
  CHECK(refusal("{}") == "400 bad-parameter");
  CHECK(refusal(R"({"operations":[]})") == "400 bad-parameter");
  CHECK(refusal(R"({"atomic":true})") == "400 bad-parameter");
  CHECK(refusal(R"({"operations":[)" + good + R"(],"atomic":1})") == "400 bad-parameter");
  CHECK(refusal(R"({"operations":[)" + good + R"(],"all":true})") == "400 bad-parameter");
  CHECK(refusal(with(R"({"op":"add","name":"a"})")) == "400 bad-parameter");
  CHECK(refusal(with(R"({"op":"each","name":"a"})")) == "400 bad-parameter");
  CHECK(refusal(with(R"({"op":"increment"})")) == "400 bad-parameter");
  CHECK(refusal(with(R"({"op":"increment","name":"a","key":"k"})")) == "400 bad-parameter");
  CHECK(refusal(with(R"({"op":"increment","name":"../a"})")) == "400 bad-name");
  CHECK(refusal(with(R"({"op":"increment","name":"a","by":1e3})")) == "400 bad-number");
  CHECK(refusal_of(decode_request("POST /v1/batch?atomic=true", with(good), kJson)) ==
        "400 bad-parameter");
  const Decoded third = decode_request(
      "POST /v1/batch", with(good + R"(,{"op":"reset","name":"a","to":"x"})"), kJson);
  CHECK(contains(std::get<Response>(third.result).body, "operation 3: "));
}

TEST_CASE("a batch has as many operations as the limit says, and no more") {
  const auto body = [](std::size_t count) {
    std::string text = R"({"operations":[)";
    for (std::size_t i = 0; i < count; ++i) text += R"({"op":"increment","name":"a"},)";
    text.back() = ']';
    return text + "}";
  };
  CHECK(operation_of(decode_request("POST /v1/batch", body(kMaxGroupOperations), kJson))
            .members.size() == kMaxGroupOperations);
  CHECK(refusal_of(decode_request("POST /v1/batch", body(kMaxGroupOperations + 1), kJson)) ==
        "400 bad-parameter");
}

TEST_CASE("the outcomes of a batch read as those of single operations") {
  const Decoded decoded = decode_request(
      "POST /v1/batch",
      R"({"operations":[{"op":"increment","name":"a","by":2,"max":5},{"op":"reset","name":"b"},)"
      R"({"op":"increment","name":"a","by":9,"max":5},{"op":"delete","name":"c"}]})",
      kJson);
  Operation group = operation_of(decoded);
  Outcome outcome;
  outcome.members.resize(4);
  outcome.members[0].value = 4;
  outcome.members[1].previous = 7;
  outcome.members[2].code = Code::kBeyondBound;
  outcome.members[2].value = 4;
  outcome.members[3].code = Code::kMissing;
  const Response response = encode(decoded.call, answer(group, outcome), {});
  CHECK(response.status == 200);
  CHECK(response.body ==
        R"({"outcomes":[{"name":"a","value":4,"applied":2,"remaining":1},)"
        R"({"name":"b","value":0,"previous":7},)"
        R"({"type":"urn:counterd:error:beyond-bound","title":"Beyond a bound","status":409,)"
        R"("detail":"counter a is 4; adding 9 would make it 13, above the maximum 5; nothing was )"
        R"(changed","value":4,"bound":5,"would_be":13,"remaining":1},)"
        R"({"type":"urn:counterd:error:no-such-counter","title":"No such counter","status":404,)"
        R"("detail":"counter c does not exist"}]})"
        "\n");

  group.kind = OperationKind::kAll;
  outcome.code = Code::kBeyondBound;
  outcome.members.resize(3);
  const Response refused = encode(decoded.call, answer(group, outcome), {});
  CHECK(refused.status == 409);
  CHECK(contains(refused.body, R"("detail":"operation 3 of 4: counter a is 4; adding 9 would)"));
  CHECK(contains(refused.body, R"(,"index":2,"value":4,"bound":5,"would_be":13,"remaining":1})"));

  outcome = {};
  outcome.code = Code::kUnknown;
  outcome.detail = "why";
  const Response unknown = encode(decoded.call, answer(group, outcome), {});
  CHECK(unknown.status == 503);
  CHECK(contains(unknown.body, R"("detail":"why"})"));
  outcome = {};
  outcome.replayed = true;
  CHECK(contains(encode(decoded.call, answer(group, outcome), {}).fields, "Idempotency-Replayed"));
}

TEST_CASE("Accept: text/plain gets the bare value") {
  Outcome outcome;
  outcome.value = 12;
  outcome.previous = 11;
  const std::string plain = "Accept: text/plain\r\n";
  CHECK(body_of("POST /increment", outcome, plain) == "12\n");
  CHECK(body_of("GET /report", outcome, plain) == "12\n");
  CHECK(body_of("POST /reset?to=12", outcome, plain) == "11\n");
  CHECK(body_of("GET /report", outcome, "Accept: text/plain, application/json\r\n").front() == '{');
  CHECK(body_of("GET /report", outcome, "Accept: Text/PLAIN\r\n") ==
        body_of("GET /report", outcome, plain));
}

TEST_CASE("a missing counter is 404, but the default one reads as 0 on the seed path") {
  Outcome missing;
  missing.code = Code::kMissing;
  CHECK(body_of("GET /v1/counters/a", missing).find("\"status\":404") != std::string::npos);
  CHECK(body_of("GET /v1/counters/count", missing).find("\"status\":404") != std::string::npos);
  CHECK(body_of("GET /report", missing) == "{\"count\":0,\"current_process_id\":42}\n");
}

TEST_CASE("an increment has the bounds and the initial value of its parameters") {
  const std::string line = "POST /v1/counters/hits/increment";
  CHECK(operation_of(decode_request(line)).bounds == Bounds{});
  CHECK(operation_of(decode_request(line)).initial == 0);
  CHECK(operation_of(decode_request(line + "?max=5")).bounds == Bounds{{}, 5, false});
  CHECK(operation_of(decode_request(line + "?min=-5&on_limit=refuse")).bounds ==
        Bounds{-5, {}, false});
  CHECK(operation_of(decode_request(line + "?min=0", R"({"max":9,"on_limit":"clamp"})", kJson))
            .bounds == Bounds{0, 9, true});
  CHECK(operation_of(decode_request("POST /increment?max=5")).bounds == Bounds{{}, 5, false});
  CHECK(operation_of(decode_request(line + "?initial=99")).initial == 99);
  for (const char* bad : {"?min=1.5", "?max=", "?max=9223372036854775808", "?initial=x"}) {
    INFO(bad);
    CHECK(refusal_of(decode_request(line + bad)) == "400 bad-number");
  }
  for (const char* bad : {"?min=6&max=5", "?on_limit=clamp",
                          "?max=5&on_limit=", "?max=5&on_limit=CLAMP", "?max=1&max=1"}) {
    INFO(bad);
    CHECK(refusal_of(decode_request(line + bad)) == "400 bad-parameter");
  }
  CHECK(refusal_of(decode_request("POST /v1/counters/hits/reset?max=5")) == "400 bad-parameter");
}

TEST_CASE("the answer to a bounded increment says how much was applied and how much remains") {
  Outcome outcome;
  outcome.value = 12;
  const std::string line = "POST /v1/counters/a/increment";
  CHECK(body_of(line + "?by=2&max=15", outcome) ==
        "{\"name\":\"a\",\"value\":12,\"applied\":2,\"remaining\":3}\n");
  CHECK(body_of(line + "?by=2&min=0", outcome) == "{\"name\":\"a\",\"value\":12,\"applied\":2}\n");
  outcome.previous = 11;
  CHECK(body_of(line + "?by=2&max=12&on_limit=clamp", outcome) ==
        "{\"name\":\"a\",\"value\":12,\"applied\":1,\"remaining\":0}\n");
  Outcome refused;
  refused.code = Code::kBeyondBound;
  refused.value = 5;
  CHECK(
      body_of(line + "?by=2&max=6", refused) ==
      "{\"type\":\"urn:counterd:error:beyond-bound\",\"title\":\"Beyond a bound\","
      "\"status\":409,\"detail\":\"counter a is 5; adding 2 would make it 7, above the maximum 6; "
      "nothing was changed\",\"value\":5,\"bound\":6,\"would_be\":7,\"remaining\":1}\n");
}

TEST_CASE("what the store could not do is 409, 503 or 507, with a type of its own") {
  const Decoded decoded = decode_request("POST /increment");
  const auto encoded = [&](Code code) {
    Outcome outcome;
    outcome.code = code;
    return encode(decoded.call, answer(operation_of(decoded), outcome), {});
  };
  CHECK(encoded(Code::kOutOfRange).status == 409);
  for (const Code code :
       {Code::kUnavailable, Code::kOverloaded, Code::kTooManyKeys, Code::kClocksApart}) {
    CAPTURE(code);
    CHECK(encoded(code).status == 503);
    CHECK(encoded(code).fields == "Retry-After: 1\r\n");
  }
  CHECK(encoded(Code::kStoreFull).status == 507);
  CHECK(encoded(Code::kStoreFull).fields.empty());
  CHECK(encoded(Code::kUnknown).status == 503);
  CHECK(encoded(Code::kUnknown).fields.empty());
  CHECK(encoded(Code::kUnknown).body.find("urn:counterd:error:unknown-outcome") !=
        std::string::npos);
}

TEST_CASE("a store that only another configuration can help is away, to whoever asks over HTTP") {
  const Error wrong{Code::kConfig, "wrong"};
  const auto encoded = [](const char* line, const Answer& answer) {
    return encode(decode_request(line).call, answer, {});
  };
  for (const Response& response : {encoded("GET /readyz", Result<StoreStatus>(wrong)),
                                   encoded("GET /v1/status", Result<StoreStatus>(wrong)),
                                   encoded("GET /v1/counters", Result<ListPage>(wrong))}) {
    CHECK(response.status == 503);
    CHECK(response.body.find("error:store-unavailable") != std::string::npos);
    CHECK(response.fields == "Retry-After: 1\r\n");
  }
}

TEST_CASE("a change has the idempotency key of its field, quoted or not") {
  for (const char* line : {"POST /v1/counters/a/increment", "POST /v1/counters/a/reset",
                           "DELETE /v1/counters/a", "POST /increment", "POST /reset"}) {
    INFO(line);
    CHECK(operation_of(decode_request(line)).key.empty());
    CHECK(operation_of(decode_request(line, "", "Idempotency-Key: a b\r\n")).key == "a b");
    CHECK(operation_of(decode_request(line, "", "Idempotency-Key: \"a b\"\r\n")).key == "a b");
    const Decoded with_lifetime =
        decode_request(line, "", "Idempotency-Key: k\r\nIdempotency-Key-Lifetime: 600\r\n");
    CHECK(operation_of(with_lifetime).key_lifetime == std::chrono::minutes(10));
    const Decoded with_long_one = decode_request(
        line, "", "Idempotency-Key: k\r\nIdempotency-Key-Lifetime: 9223372036854775807\r\n");
    CHECK(operation_of(with_long_one).key_lifetime == kMaxKeyLifetime);
    const std::string too_long(kMaxKeyLength + 1, 'k');
    for (const std::string& bad : {std::string(), std::string("\"\""), std::string("\"a"),
                                   std::string("caf\xc3\xa9"), std::string("a\tb"), too_long}) {
      INFO(bad);
      CHECK(refusal_of(decode_request(line, "", "Idempotency-Key: " + bad + "\r\n")) ==
            "400 bad-key");
    }
    for (const char* bad : {"", "0", "-1", "1h", "1.5", "9223372036854775808"}) {
      INFO(bad);
      CHECK(refusal_of(decode_request(
                line, "",
                std::string("Idempotency-Key: k\r\nIdempotency-Key-Lifetime: ") + bad + "\r\n")) ==
            "400 bad-number");
    }
  }
  CHECK(operation_of(decode_request("GET /report", "", "Idempotency-Key: k\r\n")).key.empty());
}

TEST_CASE("a replay is marked, a key of something else is 422, one too many 503") {
  const Decoded decoded = decode_request("POST /increment", "", "Idempotency-Key: k\r\n");
  const auto encoded = [&](Code code, bool replayed) {
    Outcome outcome;
    outcome.code = code;
    outcome.replayed = replayed;
    return encode(decoded.call, answer(operation_of(decoded), outcome), {});
  };
  CHECK(encoded(Code::kOk, false).fields.empty());
  CHECK(encoded(Code::kOk, true).fields == "Idempotency-Replayed: true\r\n");
  CHECK(encoded(Code::kKeyReused, false).status == 422);
  CHECK(encoded(Code::kKeyReused, false).body.find("error:key-reused") != std::string::npos);
  CHECK(encoded(Code::kTooManyKeys, false).status == 503);
  CHECK(encoded(Code::kTooManyKeys, false).body.find("error:too-many-keys") != std::string::npos);
}

TEST_CASE("a response is bytes with a length, and no body for HEAD") {
  Response response;
  response.content_type = "application/json";
  response.body = "{}\n";
  std::string bytes;
  append_bytes(bytes, response, After::kClose, true);
  CHECK(
      bytes.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: 3\r\n"));
  CHECK(bytes.find("\r\nConnection: close\r\n") != std::string::npos);
  CHECK(bytes.ends_with("\r\n\r\n"));
}

TEST_CASE("the status of each code has its own reason phrase") {
  for (int i = 0; i <= static_cast<int>(Code::kIo); ++i) {
    const Response response = problem_response({static_cast<Code>(i), ""});
    std::string bytes;
    append_bytes(bytes, response, After::kClose, true);
    const std::string first = bytes.substr(0, bytes.find('\r'));
    CAPTURE(first);
    CHECK(contains(first, "Internal Server Error") == (response.status == 500));
  }
}

TEST_CASE("a response is not for caches, has its date, and says how its connection goes on") {
  const auto sent = [](After after) {
    std::string bytes;
    append_bytes(bytes, Response(), after, false);
    return bytes;
  };
  const std::string bytes = sent(After::kKeepAlive);
  CHECK(bytes.find("\r\nCache-Control: no-store\r\n") != std::string::npos);
  CHECK(bytes.find("\r\nDate: ") != std::string::npos);
  CHECK(bytes.find("\r\nConnection: ") == std::string::npos);
  CHECK(sent(After::kKeepAlive10).find("\r\nConnection: keep-alive\r\n") != std::string::npos);
}

}  // namespace
}  // namespace counterd
