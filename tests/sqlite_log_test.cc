#include "common/store/sqlite_log.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <fstream>
#include <string>

#include "tests/catch.h"
#include "tests/temporary_directory.h"

namespace counterd {
namespace {

constexpr int kRows = 500;

// A connection to the database of a test, in which each row has a page of its own.
class Client {
 public:
  Client(const TemporaryDirectory& directory, const char* vfs)
      : database_(directory / "x.db", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 1'000, vfs) {
    run("PRAGMA page_size = 1024");
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = FULL");
    run("PRAGMA wal_autocheckpoint = 0");
    run("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, number INTEGER, filler TEXT)");
  }
  void run(const std::string& sql) {
    SQLite::Statement statement(database_, sql);
    while (statement.executeStep()) continue;
  }
  void fill() {
    run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " +
        std::to_string(kRows) + ") INSERT INTO t SELECT i, 0, printf('%.800c', 'x') FROM n");
  }
  std::string ask(const std::string& sql) { return database_.execAndGet(sql).getString(); }
  // Has the database as a whole, and in each row of it this number.
  bool sees(int number) {
    return ask("PRAGMA integrity_check") == "ok" &&
           ask("SELECT min(number) || ' ' || max(number) || ' ' || count(*) FROM t") ==
               std::to_string(number) + " " + std::to_string(number) + " " + std::to_string(kRows);
  }

 private:
  SQLite::Database database_;
};

// Calls of write() and its like by this process.
long writes() {
  std::ifstream counts("/proc/self/io");
  std::string name;
  long count = 0;
  while (counts >> name >> count && name != "syscw:") continue;
  return count;
}

TEST_CASE("a commit of many pages is one write to the log, or one for each 64 KiB", "[sqlite]") {
  const TemporaryDirectory directory;
  Client client(directory, gathering_vfs());
  client.fill();
  long before = writes();
  client.run("UPDATE t SET number = 1 WHERE id <= 40");
  CHECK(writes() - before == 1);
  before = writes();
  client.run("UPDATE t SET number = 1");
  CHECK(writes() - before <= 10);
  CHECK(Client(directory, "").sees(1));
}

TEST_CASE("what is gathered for the log is found by the transaction itself and by others",
          "[sqlite]") {
  const TemporaryDirectory directory;
  Client client(directory, gathering_vfs());
  Client other(directory, "");
  client.fill();
  client.run("PRAGMA cache_size = 10");  // so that pages leave the cache before the commit
  for (int number = 1; number <= 20; ++number) {
    client.run("BEGIN IMMEDIATE");
    client.run("UPDATE t SET number = " + std::to_string(number));
    CHECK(client.sees(number));
    CHECK(other.sees(number - 1));
    client.run("COMMIT");
    CHECK(other.sees(number));
    if (number % 7 == 0) client.run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
}

TEST_CASE("what was gathered and rolled back is never written over what others have committed",
          "[sqlite]") {
  const TemporaryDirectory directory;
  Client client(directory, gathering_vfs());
  Client other(directory, "");
  client.fill();
  client.run("PRAGMA cache_size = 10");
  for (int number = 1; number <= 20; ++number) {
    // Nothing is read from the log, which would write what was gathered.
    client.run("PRAGMA wal_checkpoint(TRUNCATE)");
    client.run("BEGIN IMMEDIATE");
    client.run("UPDATE t SET number = 1000");
    client.run("ROLLBACK");
    other.run("UPDATE t SET number = " + std::to_string(number));
    CHECK(client.sees(number));
    CHECK(other.sees(number));
    client.run("UPDATE t SET filler = filler || 'y' WHERE id = 1");
    CHECK(other.sees(number));
  }
  CHECK(Client(directory, "").sees(20));
}

}  // namespace
}  // namespace counterd
