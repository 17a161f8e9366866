#include "cli/top_rows.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>

#include "tests/catch.h"

namespace counterd {
namespace {

using Limits = std::numeric_limits<std::int64_t>;

// "name value, name value"
std::string text_of(const std::vector<ListPage::Row>& rows) {
  std::string text;
  for (const auto& [name, value] : rows) {
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(value);
  }
  return text;
}

TEST_CASE("the rows with the largest values are kept, largest first") {
  TopRows top(3);
  CHECK(top.take().empty());
  const std::vector<ListPage::Row> rows = {
      {"low", Limits::min()}, {"two", 2}, {"nine", -9}, {"top", Limits::max()}, {"ten", 10}};
  for (const ListPage::Row& row : rows) top.add(row);
  CHECK(text_of(top.take()) == "top 9223372036854775807, ten 10, two 2");
  CHECK(top.take().empty());
}

TEST_CASE("fewer rows than are wanted are all kept") {
  TopRows top(3);
  top.add({"a", Limits::min()});
  top.add({"b", 1});
  CHECK(text_of(top.take()) == "b 1, a -9223372036854775808");
}

TEST_CASE("equal values are sorted by name, bytewise, and the first names are kept") {
  TopRows top(3);
  for (const char* name : {"b", "a:", "a", "B", "a.x"}) top.add({name, 7});
  CHECK(text_of(top.take()) == "B 7, a 7, a.x 7");
}

TEST_CASE("of many rows in any order, the same are kept as by sorting all") {
  std::minstd_rand random(7);
  std::vector<ListPage::Row> rows;
  for (int i = 0; i < 5'000; ++i) {
    rows.push_back({"c" + std::to_string(i), static_cast<std::int64_t>(random() % 1'000) - 500});
  }
  std::shuffle(rows.begin(), rows.end(), random);
  TopRows top(777);
  for (const ListPage::Row& row : rows) top.add(row);
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return std::pair(-a.value, a.name) < std::pair(-b.value, b.name);
  });
  rows.resize(777);
  CHECK(text_of(top.take()) == text_of(rows));
}

}  // namespace
}  // namespace counterd
