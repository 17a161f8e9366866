// The seal of a log, on logs that SQLite writes and reads.
#include "common/store/sqlite_seal.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "tests/catch.h"
#include "tests/temporary_directory.h"

namespace counterd {
namespace {

namespace fs = std::filesystem;

// A database that leaves its log as it is when it is closed.
class Client {
 public:
  explicit Client(std::string path)
      : path_(std::move(path)), database_(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE) {
    sqlite3_db_config(database_.getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    ask("PRAGMA journal_mode = WAL");
    ask("PRAGMA wal_autocheckpoint = 0");
  }
  std::string ask(const std::string& sql) {
    SQLite::Statement statement(database_, sql);
    return statement.executeStep() ? statement.getColumn(0).getString() : "";
  }

 private:
  std::string path_;
  SQLite::Database database_;
};

struct Place {
  // Opens the database, and closes it again.
  std::string ask(const std::string& sql) const { return Client(path).ask(sql); }
  void count() const { ask("UPDATE t SET n = n + 1"); }
  std::string log_bytes() const {
    std::ifstream file(log, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write_log(const std::string& bytes) const { std::ofstream(log, std::ios::binary) << bytes; }

  TemporaryDirectory directory;
  std::string path = directory / "x.db";
  std::string log = path + "-wal";
};

// With a log of some frames, and n = 1.
struct Filled : Place {
  Filled() {
    ask("CREATE TABLE t (n)");
    ask("INSERT INTO t VALUES (1)");
  }
};

TEST_CASE("a log is sealed from when it was until something is written to it", "[sqlite]") {
  const Filled place;
  CHECK_FALSE(is_sealed(place.log));
  seal_log(place.log);
  CHECK(is_sealed(place.log));
  CHECK(place.ask("SELECT n FROM t") == "1");
  CHECK(is_sealed(place.log));
  place.count();
  CHECK_FALSE(is_sealed(place.log));
  seal_log(place.log);
  CHECK(is_sealed(place.log));
  CHECK(place.ask("SELECT n FROM t") == "2");
}

TEST_CASE("SQLite takes no notice of a seal", "[sqlite]") {
  const Filled place;
  for (int n = 1; n < 20; ++n) {
    seal_log(place.log);
    REQUIRE(place.ask("SELECT n FROM t") == std::to_string(n));
    place.count();
  }
  CHECK(place.ask("PRAGMA integrity_check") == "ok");
  seal_log(place.log);
  CHECK(place.ask("PRAGMA wal_checkpoint(TRUNCATE)") == "0");
  CHECK(fs::file_size(place.log) == 0);
  CHECK(place.ask("SELECT n FROM t") == "20");
}

TEST_CASE("a seal that is there is not written again", "[sqlite]") {
  const Filled place;
  seal_log(place.log);
  const fs::file_time_type before = fs::last_write_time(place.log) - std::chrono::hours(1);
  fs::last_write_time(place.log, before);
  seal_log(place.log);
  CHECK(fs::last_write_time(place.log) == before);
}

TEST_CASE("a log that begins anew over a longer one is sealed where it ends", "[sqlite]") {
  const Filled place;
  seal_log(place.log);
  {
    Client client(place.path);
    for (int i = 0; i < 5; ++i) client.ask("UPDATE t SET n = n + 1");
    CHECK(client.ask("PRAGMA wal_checkpoint(RESTART)") == "0");
    client.ask("UPDATE t SET n = 50");
  }
  const std::uintmax_t size = fs::file_size(place.log);
  CHECK_FALSE(is_sealed(place.log));
  seal_log(place.log);
  CHECK(is_sealed(place.log));
  CHECK(fs::file_size(place.log) == size);
  CHECK(place.ask("SELECT n FROM t") == "50");
  place.count();
  CHECK_FALSE(is_sealed(place.log));
  CHECK(place.ask("SELECT n FROM t") == "51");
}

TEST_CASE("another log's seal, and one that was changed, are none", "[sqlite]") {
  const Filled place;
  seal_log(place.log);
  const std::string sealed = place.log_bytes();
  for (std::size_t back = 1; back <= 24; ++back) {
    std::string changed = sealed;
    ++changed[sealed.size() - back];
    place.write_log(changed);
    CHECK_FALSE(is_sealed(place.log));
  }
  // The salts of the log, and the checksum of the last frame.
  const std::size_t last_frame = sealed.size() - 24 - (24 + 4'096);
  for (const std::size_t at :
       {std::size_t{16}, std::size_t{23}, last_frame + 16, last_frame + 23}) {
    std::string changed = sealed;
    ++changed[at];
    place.write_log(changed);
    CHECK_FALSE(is_sealed(place.log));
  }
  place.write_log(sealed);
  CHECK(is_sealed(place.log));
}

TEST_CASE("what is no log, or none that is worth it, is not sealed and left as it is", "[sqlite]") {
  const Filled place;
  const std::string log = place.log_bytes();
  const auto stays = [&](const std::string& bytes) {
    place.write_log(bytes);
    seal_log(place.log);
    CHECK_FALSE(is_sealed(place.log));
    CHECK(place.log_bytes() == bytes);
  };
  stays("");
  stays(log.substr(0, 31));
  stays(log.substr(0, 32));               // without a frame
  stays(log.substr(0, 32 + 23));          // amid the header of one
  stays(log.substr(0, 32 + 24 + 4'095));  // amid its page
  stays(std::string(100'000, '\xff'));    // pages of 4 GiB
  fs::remove(place.log);
  seal_log(place.log);
  CHECK_FALSE(is_sealed(place.log));
  CHECK_FALSE(fs::exists(place.log));
}

TEST_CASE("a log is sealed up to the longest that it may be", "[sqlite]") {
  const Filled place;
  constexpr std::size_t kFrame = 24 + 4'096;
  Client client(place.path);
  while (fs::file_size(place.log) + kFrame <= kLongestSealedLog) {
    client.ask("UPDATE t SET n = n + 1");
  }
  seal_log(place.log);
  CHECK(is_sealed(place.log));
  client.ask("UPDATE t SET n = n + 1");
  seal_log(place.log);
  CHECK_FALSE(is_sealed(place.log));
}

}  // namespace
}  // namespace counterd
