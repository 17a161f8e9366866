#include "common/uuid.h"

#include <set>
#include <string_view>

#include "tests/catch.h"

namespace counterd {

TEST_CASE("a UUID is one of version 7, and later ones sort after earlier ones", "[uuid]") {
  std::set<std::string> uuids;
  for (int i = 0; i < 1'000; ++i) {
    const Result<std::string> made = make_uuid();
    REQUIRE(made);
    const std::string& uuid = *made;
    REQUIRE(uuid.size() == 36);
    CHECK(uuid[14] == '7');
    CHECK(std::string_view("89ab").find(uuid[19]) != std::string_view::npos);
    for (const std::size_t dash : {8, 13, 18, 23}) CHECK(uuid[dash] == '-');
    if (!uuids.empty()) CHECK(uuids.rbegin()->substr(0, 13) <= uuid.substr(0, 13));
    CHECK(uuids.insert(uuid).second);
  }
}

}  // namespace counterd
