#include "cli/latencies.h"

#include "tests/catch.h"

namespace counterd {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;

TEST_CASE("a percentile is that of the times, to 1 in 64, and never beyond the longest") {
  Latencies latencies;
  CHECK(latencies.percentile(50) == nanoseconds(0));
  for (int i = 1; i <= 100'000; ++i) latencies.add(nanoseconds(i * 1'000));
  CHECK(latencies.count() == 100'000);
  CHECK(latencies.longest() == nanoseconds(100'000'000));
  for (const double percent : {0.1, 1.0, 50.0, 99.0, 99.9, 100.0}) {
    CAPTURE(percent);
    const double exact = percent * 1'000'000;
    const auto told = static_cast<double>(latencies.percentile(percent).count());
    CHECK(told >= exact);
    CHECK(told <= exact * 65 / 64);
  }
  CHECK(latencies.percentile(100) == nanoseconds(100'000'000));
}

TEST_CASE("each time below 128 ns has its own class, and what is absurd is kept as it can be") {
  for (const int ns : {0, 1, 63, 64, 65, 127}) {
    Latencies latencies;
    latencies.add(nanoseconds(ns));
    latencies.add(hours(100));
    CHECK(latencies.percentile(50) == nanoseconds(ns));
    CHECK(latencies.longest() == hours(100));
  }
  Latencies latencies;
  latencies.add(nanoseconds(-5));
  CHECK(latencies.percentile(50) == nanoseconds(0));
}

}  // namespace
}  // namespace counterd
