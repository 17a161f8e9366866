#include "daemon/config_file.h"

#include <sys/resource.h>

#include "tests/catch.h"

namespace counterd {
namespace {

// "NAME=VALUE|VALUE NAME=…", or the message.
std::string settings_of(std::string_view text) {
  const Result<std::vector<ConfigSetting>> settings = parse_config(text);
  if (!settings) return settings.error().message;
  std::string told;
  for (const ConfigSetting& setting : *settings) {
    told += (told.empty() ? "" : " ") + setting.name + "=";
    for (const std::string& value : setting.values) {
      told += (&value == setting.values.data() ? "" : "|") + value;
    }
  }
  return told;
}

TEST_CASE("a configuration file is lines of a name and its values", "[config]") {
  CHECK(settings_of("") == "");
  CHECK(settings_of("a = 1") == "a=1");
  CHECK(settings_of("a=1\n\n  b\t=\t2  \r\nc =3\n") == "a=1 b=2 c=3");
  CHECK(settings_of("# a = 1\n; b = 2\n  # c = 3\nd = 4") == "d=4");
}

TEST_CASE("values stand one after another with commas between them, or on a line each",
          "[config]") {
  CHECK(settings_of("a = 1, 2 ,3") == "a=1|2|3");
  CHECK(settings_of("a = 1\nb = 2\na = 3") == "a=1|3 b=2");
}

TEST_CASE("a value within double quotes is as it stands there", "[config]") {
  CHECK(settings_of(R"(a = "b, c" , "# d"," e ")") == "a=b, c|# d| e ");
  CHECK(settings_of(R"(a = "b\")") == R"(a=b\)");
  CHECK(settings_of(R"(a = "'b'", it's)") == "a='b'|it's");
}

TEST_CASE("nothing within a value begins a comment or a list", "[config]") {
  CHECK(settings_of("a = sqlite:/x;y#z.db") == "a=sqlite:/x;y#z.db");
  CHECK(settings_of("a = \"x;y#z\"") == "a=x;y#z");
  CHECK(settings_of("a = [::1]:4747, [fe80::1]:1") == "a=[::1]:4747|[fe80::1]:1");
  CHECK(settings_of("a = b=c") == "a=b=c");
}

TEST_CASE("an empty value is one that is empty", "[config]") {
  CHECK(settings_of("a =") == "a=");
  CHECK(settings_of("a = \"\"") == "a=");
  CHECK(settings_of("a = 1,") == "a=1|");
  CHECK(settings_of("= 1") == "=1");
}

TEST_CASE("a malformed line is reported with its number", "[config]") {
  CHECK(settings_of("a = 1\nb") == "line 2: 'b' is not NAME = VALUE");
  CHECK(settings_of("[a]") == "line 1: '[a]' is not NAME = VALUE");
  CHECK(settings_of("\n\na = \"b") == "line 3: a double quote is not closed");
  CHECK(settings_of("a = 'b'") == "line 1: a value that begins with ' stands in double quotes");
  for (const std::string line : {"a = 1 # b", "a = 1 2", "a = b\"c\"", "a = \"b\"c"}) {
    CAPTURE(line);
    CHECK(settings_of(line).starts_with("line 1: "));
    CHECK(settings_of(line).find("comes after a value") != std::string::npos);
  }
}

TEST_CASE("a shortage of descriptors is no wrong configuration", "[config]") {
  // First with descriptors: a sanitizer needs some where it meets a type for the first time.
  const Result<std::vector<ConfigSetting>> missing = read_config_file("/there/is/none");
  REQUIRE(!missing);
  CHECK(missing.error().code == Code::kConfig);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &none);
  const Result<std::vector<ConfigSetting>> settings = read_config_file("/dev/null");
  setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE(!settings);
  CHECK(settings.error().code == Code::kIo);
}

TEST_CASE("what may be a password is not repeated", "[config]") {
  for (const std::string line :
       {"store redis://user:hunter2@host", "store: redis://:hunter2@host", "redis://u:hunter2@h",
        "store = redis://user:hun hunter2@host", "store = \"redis://user:hun\"hunter2@host"}) {
    CAPTURE(line);
    CHECK(settings_of(line).starts_with("line 1: "));
    CHECK(settings_of(line).find("hunter2") == std::string::npos);
  }
}

}  // namespace
}  // namespace counterd
