// The seal of a log, on logs that SQLite writes and reads.
#include "common/store/sqlite_seal.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>

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
  std::string wal_bytes() const { return contents_of(log); }
  void write_wal(const std::string& bytes) const { std::ofstream(log, std::ios::binary) << bytes; }

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

std::size_t frames_of(const Place& place) {
  const std::string log = place.wal_bytes();
  std::size_t frames = 0;
  for (std::size_t at = 32; at + 24 <= log.size(); at += 24 + 4'096) {
    if (log.substr(at + 8, 8) != log.substr(16, 8)) break;
    ++frames;
  }
  return frames;
}

// All frames that it has.
void seal(const Place& place) {
  seal_wal(place.log, frames_of(place));
}
bool has_seal(const Place& place) {
  return is_sealed(place.log, frames_of(place));
}

TEST_CASE("a log is sealed from when it was until something is written to it", "[sqlite]") {
  const Filled place;
  CHECK_FALSE(has_seal(place));
  seal(place);
  CHECK(has_seal(place));
  CHECK(place.ask("SELECT n FROM t") == "1");
  CHECK(has_seal(place));
  place.count();
  CHECK_FALSE(has_seal(place));
  seal(place);
  CHECK(has_seal(place));
  CHECK(place.ask("SELECT n FROM t") == "2");
}

TEST_CASE("SQLite takes no notice of a seal", "[sqlite]") {
  const Filled place;
  for (int n = 1; n < 20; ++n) {
    seal(place);
    REQUIRE(place.ask("SELECT n FROM t") == std::to_string(n));
    place.count();
  }
  CHECK(place.ask("PRAGMA integrity_check") == "ok");
  seal(place);
  CHECK(place.ask("PRAGMA wal_checkpoint(TRUNCATE)") == "0");
  CHECK(fs::file_size(place.log) == 0);
  CHECK(place.ask("SELECT n FROM t") == "20");
}

TEST_CASE("a seal that is there is not written again", "[sqlite]") {
  const Filled place;
  seal(place);
  const fs::file_time_type before = fs::last_write_time(place.log) - std::chrono::hours(1);
  fs::last_write_time(place.log, before);
  seal(place);
  CHECK(fs::last_write_time(place.log) == before);
}

TEST_CASE("a log that restarts over a longer one is sealed where it ends", "[sqlite]") {
  const Filled place;
  seal(place);
  {
    Client client(place.path);
    for (int i = 0; i < 5; ++i) client.ask("UPDATE t SET n = n + 1");
    CHECK(client.ask("PRAGMA wal_checkpoint(RESTART)") == "0");
    client.ask("UPDATE t SET n = 50");
  }
  const std::uintmax_t size = fs::file_size(place.log);
  CHECK_FALSE(has_seal(place));
  seal(place);
  CHECK(has_seal(place));
  CHECK(fs::file_size(place.log) == size);
  CHECK(place.ask("SELECT n FROM t") == "50");
  place.count();
  CHECK_FALSE(has_seal(place));
  CHECK(place.ask("SELECT n FROM t") == "51");
}

TEST_CASE("a log of which any byte was changed is not sealed", "[sqlite]") {
  const Filled place;
  seal(place);
  const std::string sealed = place.wal_bytes();
  const std::size_t frames = frames_of(place);
  for (std::size_t at = 0; at < sealed.size(); ++at) {
    std::string changed = sealed;
    ++changed[at];
    place.write_wal(changed);
    if (is_sealed(place.log, frames)) FAIL(at);
  }
  place.write_wal(sealed);
  CHECK(has_seal(place));
}

TEST_CASE("a log with more or fewer frames than are known is not sealed", "[sqlite]") {
  const Filled place;
  place.count();
  const std::string log = place.wal_bytes();
  const std::size_t frames = (log.size() - 32) / (24 + 4'096);
  REQUIRE(frames > 1);
  seal_wal(place.log, frames - 1);
  seal_wal(place.log, frames + 1);
  CHECK(place.wal_bytes() == log);
  seal_wal(place.log, frames);
  CHECK(has_seal(place));
  CHECK_FALSE(is_sealed(place.log, frames - 1));
  CHECK_FALSE(is_sealed(place.log, frames + 1));
}

TEST_CASE("a copy of a sealed log is not sealed", "[sqlite]") {
  const Filled place;
  seal(place);
  fs::copy_file(place.log, place.path + "-copy");
  CHECK_FALSE(is_sealed(place.path + "-copy", frames_of(place)));
}

TEST_CASE("a log with something after its last commit is not sealed", "[sqlite]") {
  const Filled place;
  seal(place);
  const std::string sealed = place.wal_bytes();
  {
    Client client(place.path);
    client.ask("PRAGMA cache_size = 1");
    client.ask("BEGIN");
    client.ask(
        "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT 20) "
        "INSERT INTO t SELECT printf('%.4000c', 'x') FROM i");
    client.ask("ROLLBACK");
  }
  const std::string longer = place.wal_bytes();
  REQUIRE(longer.size() > sealed.size() + 5 * 4'096);
  REQUIRE(place.ask("SELECT count(*) FROM t") == "1");
  seal(place);
  const std::size_t committed = (sealed.size() - 32) / (24 + 4'096);
  seal_wal(place.log, committed);
  CHECK(place.wal_bytes() == longer);
  CHECK_FALSE(is_sealed(place.log, committed));

  // Nor where the seal, or nothing at all, was brought to the disk in place of the first of it.
  place.write_wal(sealed + longer.substr(sealed.size()));
  CHECK_FALSE(is_sealed(place.log, committed));
  std::string hole = longer;
  hole.replace(sealed.size() - 24, 24, 24, '\0');
  place.write_wal(hole);
  seal(place);
  CHECK(place.wal_bytes() == hole);

  // A commit that is shorter is followed by the rest of it.
  place.write_wal(longer);
  place.count();
  seal(place);
  CHECK_FALSE(has_seal(place));
}

TEST_CASE("a file that is not a log, or not worth a seal, is left as it is", "[sqlite]") {
  const Filled place;
  const std::string log = place.wal_bytes();
  const auto stays = [&](const std::string& bytes) {
    place.write_wal(bytes);
    seal(place);
    CHECK_FALSE(has_seal(place));
    CHECK(place.wal_bytes() == bytes);
  };
  stays("");
  stays(log.substr(0, 31));
  stays(log.substr(0, 32));               // without a frame
  stays(log.substr(0, 32 + 23));          // amid the header of one
  stays(log.substr(0, 32 + 24 + 4'095));  // amid its page
  stays(std::string(100'000, '\xff'));    // pages of 4 GiB
  stays(std::string(100'000, '\0'));      // and of none
  fs::remove(place.log);
  seal(place);
  CHECK_FALSE(has_seal(place));
  CHECK_FALSE(fs::exists(place.log));
}

TEST_CASE("a log is sealed up to the longest that it may be", "[sqlite]") {
  const Filled place;
  constexpr std::size_t kFrame = 24 + 4'096;
  Client client(place.path);
  while (fs::file_size(place.log) + kFrame <= kLongestSealedBytes) {
    client.ask("UPDATE t SET n = n + 1");
  }
  seal(place);
  CHECK(has_seal(place));
  client.ask("UPDATE t SET n = n + 1");
  seal(place);
  CHECK_FALSE(has_seal(place));
}

}  // namespace
}  // namespace counterd
