// Windows of the calendar, held against what date(1) says of the same moments: it reads the same tz
// database by other code.
#include "common/calendar.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <random>
#include <vector>

#include "tests/catch.h"
#include "tests/temporary_directory.h"

using namespace counterd;

namespace {

constexpr std::array kAllPeriods = {Period::kMinute, Period::kHour,  Period::kDay,
                                    Period::kWeek,   Period::kMonth, Period::kYear};

// What the clocks and the calendar of a zone show at each of the moments (in seconds): a text for
// each period, the same as long as it is the same one.
std::vector<std::array<std::string, kAllPeriods.size()>> shown_by_date(
    const std::string& zone, const std::vector<std::int64_t>& moments) {
  const TemporaryDirectory directory;
  const std::string input = directory / "moments";
  std::ofstream file(input);
  for (const std::int64_t moment : moments) file << '@' << moment << '\n';
  file.close();
  const std::string command = "LC_ALL=C TZ=" + zone + " date --file='" + input +
                              "' '+%F %H:%M %z|%F %H %z|%F|%G-%V|%Y-%m|%Y'";
  const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
  std::vector<std::array<std::string, kAllPeriods.size()>> shown;
  std::array<char, 256> line{};
  while (std::fgets(line.data(), line.size(), output.get()) != nullptr) {
    std::string_view rest(line.data());
    rest.remove_suffix(1);
    for (std::string& text : shown.emplace_back()) {
      text = rest.substr(0, rest.find('|'));
      rest.remove_prefix(std::min(text.size() + 1, rest.size()));
    }
  }
  return shown;
}

std::int64_t end_of(Period period, const std::string& zone, std::int64_t moment_s) {
  const std::int64_t end_ms = window_end({period, zone}, moment_s * 1000);
  REQUIRE(end_ms % 1000 == 0);
  return end_ms / 1000;
}

std::int64_t utc(const std::string& time) {
  const std::string command = "date --utc --date='" + time + "' +%s";
  const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
  long long seconds = 0;
  REQUIRE(std::fscanf(output.get(), "%lld", &seconds) == 1);
  return seconds;
}

// Moments of the years 2025 and 2026: some every day, and many around each change of the clocks and
// each end of a month.
std::vector<std::int64_t> moments_of(const std::string& zone) {
  std::vector<std::int64_t> moments;
  std::mt19937 random(20261124);
  const std::int64_t begin = utc("2025-01-01");
  const std::int64_t end = utc("2027-01-03");
  std::vector<std::int64_t> hours;
  for (std::int64_t hour = begin; hour < end; hour += 3600) hours.push_back(hour);
  const auto shown = shown_by_date(zone, hours);
  REQUIRE(shown.size() == hours.size());
  const auto offset_at = [&](std::size_t i) { return shown[i][1].substr(shown[i][1].rfind(' ')); };
  for (std::size_t i = 1; i < hours.size(); ++i) {
    const bool changes = offset_at(i) != offset_at(i - 1);
    const bool is_new_month = shown[i][4] != shown[i - 1][4];
    if (changes || is_new_month) {
      const std::int64_t around = changes ? 26 * 3600 : 2 * 3600;
      for (std::int64_t at = -around; at < around; at += 601) moments.push_back(hours[i] + at);
      for (const int second : {-1, 0, 1}) moments.push_back(hours[i] + second);
    } else if (i % 7 == 0) {
      moments.push_back(hours[i] + static_cast<std::int64_t>(random() % 3600));
    }
  }
  return moments;
}

}  // namespace

TEST_CASE("a window ends at the second at which the calendar of its zone shows another one") {
  for (const char* name : {"Europe/Berlin", "America/New_York", "America/St_Johns",
                           "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "Asia/Beirut",
                           "America/Havana", "Asia/Kathmandu", "UTC"}) {
    const std::string zone = name;
    const std::vector<std::int64_t> moments = moments_of(zone);
    for (std::size_t period = 0; period < kAllPeriods.size(); ++period) {
      std::vector<std::int64_t> asked;
      for (const std::int64_t moment : moments) {
        const std::int64_t end = end_of(kAllPeriods[period], zone, moment);
        asked.insert(asked.end(), {moment, end - 1, end});
      }
      const auto shown = shown_by_date(zone, asked);
      REQUIRE(shown.size() == asked.size());
      for (std::size_t i = 0; i < asked.size(); i += 3) {
        const std::string& now = shown[i][period];
        const std::string& last = shown[i + 1][period];
        const std::string& next = shown[i + 2][period];
        if (now == last && now != next && asked[i] < asked[i + 2]) continue;
        FAIL(zone << ", " << word_of(kAllPeriods[period]) << ", second " << asked[i] << ", " << now
                  << ": it ends at " << asked[i + 2] << ", after " << last << ", before " << next);
      }
    }
  }
}

TEST_CASE("a day on which the clocks are changed has 23 or 25 hours") {
  const auto length = [](const std::string& zone, const std::string& midnight) {
    const std::int64_t begin = utc(midnight);
    CHECK(end_of(Period::kDay, zone, begin - 1) == begin);
    return end_of(Period::kDay, zone, begin) - begin;
  };
  CHECK(length("Europe/Berlin", "2026-03-28 23:00") == 23 * 3600);
  CHECK(length("Europe/Berlin", "2026-10-24 22:00") == 25 * 3600);
  CHECK(length("America/New_York", "2026-03-08 05:00") == 23 * 3600);
  CHECK(length("America/New_York", "2026-11-01 04:00") == 25 * 3600);
  CHECK(length("Australia/Lord_Howe", "2026-04-04 13:00") == 24 * 3600 + 1800);
  // Midnight itself is skipped: the day begins at one o'clock.
  CHECK(length("Africa/Cairo", "2026-04-23 22:00") == 23 * 3600);
  // A day that there was not: on Samoa Friday followed on Wednesday's morrow.
  CHECK(length("Pacific/Apia", "2011-12-29 10:00") == 24 * 3600);
  CHECK(end_of(Period::kDay, "Pacific/Apia", utc("2011-12-30 10:00")) == utc("2011-12-31 10:00"));
}

TEST_CASE("an hour has sixty minutes also where the clocks show it twice") {
  const std::int64_t change = utc("2026-10-25 01:00");
  CHECK(end_of(Period::kHour, "Europe/Berlin", change - 1) == change);
  CHECK(end_of(Period::kHour, "Europe/Berlin", change) == change + 3600);
}

TEST_CASE("clocks that go back over midnight end no window in the past") {
  // At one minute past midnight they went back to one minute past eleven.
  const std::int64_t change = utc("2010-11-07 02:31");
  const std::string zone = "America/St_Johns";
  CHECK(end_of(Period::kDay, zone, change - 61) == change - 60);
  CHECK(end_of(Period::kDay, zone, change) == change + 59 * 60);
  CHECK(end_of(Period::kHour, zone, change - 1) == change);
  CHECK(end_of(Period::kHour, zone, change) == change + 59 * 60);
}

TEST_CASE("a week begins on Monday, a month and a year on their first day") {
  CHECK(end_of(Period::kWeek, "UTC", utc("2026-11-24 12:00")) == utc("2026-11-30"));
  CHECK(end_of(Period::kWeek, "UTC", utc("2026-11-29 23:59:59")) == utc("2026-11-30"));
  CHECK(end_of(Period::kWeek, "UTC", utc("2026-11-30")) == utc("2026-12-07"));
  CHECK(end_of(Period::kMonth, "UTC", utc("2028-02-01")) == utc("2028-03-01"));
  CHECK(end_of(Period::kMonth, "UTC", utc("2026-01-31 12:00")) == utc("2026-02-01"));
  CHECK(end_of(Period::kMonth, "Europe/Berlin", utc("2026-12-31 22:59:59")) ==
        utc("2026-12-31 23:00"));
  CHECK(end_of(Period::kYear, "Europe/Berlin", utc("2026-06-01")) == utc("2026-12-31 23:00"));
}

TEST_CASE("only names of the tz database are time zones") {
  for (const char* good : {"UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"}) {
    CAPTURE(good);
    Window window{Period::kDay, good};
    CHECK(resolve_timezone(window));
    CHECK(window.timezone == good);
  }
  for (const char* bad : {"Mars/Olympus", "europe/berlin", "../../etc/passwd", "/etc/localtime",
                          "Europe", "localtime", "Europe/Berlin ", "CET-1CEST", "+02:00"}) {
    CAPTURE(bad);
    Window window{Period::kDay, bad};
    const Result<void> resolved = resolve_timezone(window);
    REQUIRE_FALSE(resolved);
    CHECK(resolved.error().code == Code::kBadParameter);
  }
}

TEST_CASE("periods are named by one word each") {
  for (const Period period : kAllPeriods) CHECK(*parse_period(word_of(period)) == period);
  for (const char* bad : {"", "Day", "days", "fortnight", "day "}) {
    CAPTURE(bad);
    CHECK(parse_period(bad).error().code == Code::kBadParameter);
  }
}
