#include "daemon/request_head.h"

#include "common/limits.h"
#include "tests/catch.h"

namespace counterd {
namespace {

std::string with_fields(const std::string& fields) {
  return "POST /increment HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
}

// kOk: accepted, or not whole yet.
Code code_of(std::string_view input) {
  const auto checked = read_request_head(input);
  return checked ? Code::kOk : checked.error().code;
}

RequestHead accepted(std::string_view input) {
  const auto checked = read_request_head(input);
  REQUIRE(checked.ok());
  REQUIRE(checked->has_value());
  return **checked;
}

TEST_CASE("a head is accepted with its size and the size of its body") {
  const std::string text = with_fields("Content-Length: 12\r\n");
  const RequestHead head = accepted(text + "by=1");
  CHECK(head.size == text.size());
  CHECK(head.body_size == 12);
  CHECK(head.keep_alive);
}

TEST_CASE("a POST without Content-Length has no body") {
  CHECK(accepted(with_fields("")).body_size == 0);
}

TEST_CASE("every beginning of a good head may become one") {
  const std::string text =
      with_fields("Content-Length: 0\r\nAccept: */*\r\nX-A:\tb \r\nUser-Agent: curl/7.88.1\r\n");
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto checked = read_request_head(std::string_view(text).substr(0, size));
    INFO(size);
    REQUIRE(checked.ok());
    REQUIRE(!checked->has_value());
  }
  CHECK(accepted(text).size == text.size());
}

TEST_CASE("what framing depends on is refused unless it is plain") {
  CHECK(code_of(with_fields("Transfer-Encoding: chunked\r\n")) == Code::kLengthRequired);
  CHECK(code_of(with_fields("transfer-encoding: identity\r\n")) == Code::kLengthRequired);
  CHECK(code_of(with_fields("Content-Length: 1\r\nContent-Length: 1\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("Content-Length: 1, 1\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("Content-Length: +1\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("Content-Length: -1\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("Content-Length: 0x1\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("Content-Length:\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("Content-Length: 1048577\r\n")) == Code::kBodyTooLarge);
  CHECK(code_of(with_fields("Content-Length: 99999999999999999999999\r\n")) == Code::kBodyTooLarge);
  CHECK(accepted(with_fields("Content-Length: 1048576\r\n")).body_size == kMaxBodyBytes);
}

TEST_CASE("Host is there once") {
  CHECK(code_of("GET /report HTTP/1.1\r\n\r\n") == Code::kBadRequest);
  CHECK(code_of(with_fields("Host: localhost\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("hOsT: other\r\n")) == Code::kBadRequest);
  // HTTP/1.0 knows no such field.
  CHECK(accepted("GET /report HTTP/1.0\r\n\r\n").host.empty());
  CHECK(code_of("GET /report HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n") == Code::kBadRequest);
}

TEST_CASE("lines end with CR LF alone, and control characters are nowhere") {
  CHECK(code_of("GET /report HTTP/1.1\nHost: a\n\n") == Code::kBadRequest);
  CHECK(code_of("GET /report HTTP/1.1\r\nHost: a\n\r\n") == Code::kBadRequest);
  CHECK(code_of(with_fields("X: a\rb\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields(std::string("X: a\0b\r\n", 8))) == Code::kBadRequest);
  CHECK(code_of(with_fields("X: a\x7f\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("X: a\x01\r\n")) == Code::kBadRequest);
  CHECK(code_of("\r\nGET /report HTTP/1.1\r\nHost: a\r\n\r\n") == Code::kBadRequest);
}

TEST_CASE("fields are a name, a colon at once, and a value on one line") {
  CHECK(code_of(with_fields("Accept : a\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields(" Accept: a\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("X: a\r\n b\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("X: a\r\n\tb\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("no colon\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields(": no name\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("X(y): a\r\n")) == Code::kBadRequest);
  CHECK(code_of(with_fields("X: caf\xc3\xa9\r\n")) == Code::kOk);
}

TEST_CASE("the host of a target in absolute form goes before the field Host") {
  const RequestHead head =
      accepted("GET HTTP://localhost:4747/report?a=b HTTP/1.1\r\nHost: other\r\n\r\n");
  CHECK(head.target == "/report?a=b");
  CHECK(head.host == "localhost:4747");
  for (const std::string target : {"http://localhost", "http://localhost/", "http://localhost?a"}) {
    const std::string request = "GET " + target + " HTTP/1.1\r\nHost: other\r\n\r\n";
    const RequestHead root = accepted(request);
    CHECK(root.target == "/");
    CHECK(root.host == "localhost");
  }
}

TEST_CASE("a request line is METHOD, a path and a version") {
  const auto line = [](const std::string& text) {
    return code_of(text + "\r\nHost: localhost\r\n\r\n");
  };
  CHECK(line("GET /report HTTP/1.1") == Code::kOk);
  CHECK(line("GET /report HTTP/1.0") == Code::kOk);
  CHECK(line("GET /report HTTP/2.0") == Code::kVersionNotSupported);
  CHECK(line("GET /report HTTP/1.2") == Code::kVersionNotSupported);
  CHECK(line("GET /report FTP/1.1") == Code::kBadRequest);
  CHECK(line("GET /report") == Code::kBadRequest);
  CHECK(line("GET  /report HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET /re port HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET /report  HTTP/1.1") == Code::kBadRequest);
  CHECK(line("PRI * HTTP/2.0") == Code::kVersionNotSupported);
  CHECK(line("GET http:///report HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET https://localhost/report HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET http://local host/report HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET report HTTP/1.1") == Code::kBadRequest);
  CHECK(line("OPTIONS * HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET /caf\xc3\xa9 HTTP/1.1") == Code::kBadRequest);
  CHECK(line("GET /a#b HTTP/1.1") == Code::kBadRequest);
  CHECK(line("G@T /report HTTP/1.1") == Code::kBadRequest);
  CHECK(line(std::string(33, 'A') + " /report HTTP/1.1") == Code::kBadRequest);
}

TEST_CASE("every part of a head has a limit, also before its end has come") {
  const std::string target = "/" + std::string(kMaxTargetBytes - 1, 'a');
  CHECK(code_of("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n") == Code::kOk);
  CHECK(code_of("GET " + target + "a HTTP/1.1\r\nHost: a\r\n\r\n") == Code::kTargetTooLong);
  CHECK(code_of("GET /" + std::string(16 * 1024, 'a')) == Code::kTargetTooLong);
  std::string fields;
  for (std::size_t i = 1; i < kMaxHeadFields; ++i) fields += "X: y\r\n";
  CHECK(code_of(with_fields(fields)) == Code::kOk);
  CHECK(code_of(with_fields(fields + "X: y\r\n")) == Code::kHeadTooLarge);
  CHECK(code_of(with_fields("X: " + std::string(kMaxHeadBytes, 'a'))) == Code::kHeadTooLarge);
  const std::string rest = with_fields("X: \r\n");
  CHECK(code_of(with_fields("X: " + std::string(kMaxHeadBytes - rest.size(), 'a') + "\r\n")) ==
        Code::kOk);
  CHECK(code_of(with_fields("X: " + std::string(kMaxHeadBytes - rest.size() + 1, 'a') + "\r\n")) ==
        Code::kHeadTooLarge);
}

TEST_CASE("encodings that are not offered are refused by name") {
  CHECK(code_of(with_fields("Content-Encoding: gzip\r\n")) == Code::kUnsupportedMediaType);
  CHECK(code_of(with_fields("Content-Type: Multipart/form-data; boundary=x\r\n")) ==
        Code::kUnsupportedMediaType);
  CHECK(code_of(with_fields("Expect: magic\r\n")) == Code::kExpectationFailed);
  CHECK(accepted(with_fields("Expect: 100-Continue\r\n")).expects_continue);
  for (const std::string expectation : {"100-continue", "magic"}) {
    CHECK_FALSE(accepted("GET / HTTP/1.0\r\nHost: a\r\nExpect: " + expectation + "\r\n\r\n")
                    .expects_continue);
  }
}

TEST_CASE("a head is told as it was written") {
  const RequestHead head = accepted(
      "DELETE /v1/counters/a%41?x=1 HTTP/1.1\r\nhost:\tExample:80 \r\nContent-Type: Text/Plain\r\n"
      "Accept: text/plain\r\nAccept: */*\r\nOrigin: null\r\nSec-Fetch-Site: cross-site\r\n\r\n");
  CHECK(head.method == "DELETE");
  CHECK(head.target == "/v1/counters/a%41?x=1");
  CHECK(head.host == "Example:80");
  CHECK(head.content_type == "Text/Plain");
  CHECK(head.accept == "text/plain");
  CHECK(head.sec_fetch_site == "cross-site");
  CHECK(head.has_origin);
  CHECK(!head.idempotency_key);
  CHECK(accepted(with_fields("Idempotency-Key:\r\n")).idempotency_key == "");
  CHECK(accepted(with_fields("idempotency-key: \"a b\" \r\n")).idempotency_key == "\"a b\"");
  CHECK(accepted(with_fields("Idempotency-Key-Lifetime: 5\r\n")).idempotency_key_lifetime == "5");
  const RequestHead bare = accepted("GET / HTTP/1.1\r\nHost:\r\n\r\n");
  CHECK(bare.host.empty());
  CHECK(bare.content_type.empty());
  CHECK(bare.accept.empty());
  CHECK(bare.sec_fetch_site.empty());
  CHECK(!bare.has_origin);
  CHECK(!bare.expects_continue);
}

TEST_CASE("what means one thing is given once") {
  for (const std::string field :
       {"Content-Type: a\r\n", "Sec-Fetch-Site: none\r\n", "Idempotency-Key: a\r\n",
        "Idempotency-Key-Lifetime: 1\r\n", "Expect: 100-continue\r\n", "Content-Length: 0\r\n"}) {
    INFO(field);
    CHECK(code_of(with_fields(field)) == Code::kOk);
    CHECK(code_of(with_fields(field + field)) == Code::kBadRequest);
  }
}

TEST_CASE("Range is left aside, whatever it says") {
  CHECK(accepted(with_fields("Range: bytes=0-1\r\nRange: x\r\nAccept: a\r\n")).accept == "a");
}

TEST_CASE("the connection goes on as the client wishes") {
  CHECK(!accepted(with_fields("Connection: close\r\n")).keep_alive);
  CHECK(!accepted(with_fields("Connection: x, Close\r\n")).keep_alive);
  CHECK(accepted(with_fields("Connection: closely\r\n")).keep_alive);
  const std::string old = "GET /report HTTP/1.0\r\nHost: a\r\n";
  CHECK(!accepted(old + "\r\n").keep_alive);
  CHECK(accepted(old + "Connection: Keep-Alive\r\n\r\n").keep_alive);
  CHECK(!accepted(old + "Connection: close, keep-alive\r\n\r\n").keep_alive);
  CHECK(!accepted(old + "Connection: close\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  CHECK(!accepted(old + "Connection: keep-alive\r\nConnection: close\r\n\r\n").keep_alive);
}

}  // namespace
}  // namespace counterd
