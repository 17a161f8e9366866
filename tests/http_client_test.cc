// What counterctl takes for an answer, and what not. That it asks rightly, keeps its connection and
// ends in time is tested by counterctl.bats.
#include "cli/http_client.h"

#include "tests/catch.h"

namespace counterd {
namespace {

std::optional<ReplyHead> head_of(std::string_view input) {
  const Result<std::optional<ReplyHead>> read = read_reply_head(input);
  REQUIRE(read);
  return *read;
}

TEST_CASE("a reply's head says how long it is, how long its body, and whether it is the last") {
  const std::string_view bytes =
      "HTTP/1.1 404 Not Found\r\ncontent-LENGTH:  12\r\nConnection: close\r\n\r\n{\"a\":1}";
  const std::optional<ReplyHead> head = head_of(bytes);
  REQUIRE(head);
  CHECK(head->status == 404);
  CHECK(bytes.substr(head->size) == "{\"a\":1}");
  CHECK(head->body_size == 12);
  CHECK(head->closes);
  CHECK_FALSE(head_of("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")->closes);
  CHECK(head_of("HTTP/1.1 200 OK\r\nContent-Length:\t12 \t\r\n\r\n")->body_size == 12);
  CHECK(head_of("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close \r\n\r\n")->closes);
  CHECK(head_of("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")->status == 100);
}

TEST_CASE("a head that is not whole yet is waited for") {
  const std::string_view bytes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(head_of(bytes.substr(0, size)).has_value());
  }
  CHECK(head_of(bytes).has_value());
}

TEST_CASE("what is no answer, or does not tell its length, is refused") {
  for (const std::string& bytes : std::initializer_list<std::string>{
           "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "SSH-2.0\r\n\r\n",
           "HTTP/1.1 2x0 OK\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 3x\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n", std::string(16 * 1024, 'x'),
           "HTTP/1.1 200 OK\r\nX: " + std::string(16 * 1024, 'x')}) {
    CAPTURE(bytes.substr(0, 60));
    CHECK_FALSE(read_reply_head(bytes).ok());
  }
}

TEST_CASE("a request names the host as the client does") {
  const HttpRequest request{"POST", "/x", "A: b\r\n"};
  CHECK(to_bytes(request, {"::1", 4747, ""}) ==
        "POST /x HTTP/1.1\r\nHost: [::1]:4747\r\nA: b\r\nContent-Length: 0\r\n\r\n");
  CHECK(to_bytes({"GET", "/x"}, {"", 0, "/run/x"}) == "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

}  // namespace
}  // namespace counterd
