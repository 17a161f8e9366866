#include "common/store/sqlite_schema.h"

#include <array>
#include <string>

namespace counterd {
namespace {

constexpr int kApplicationId = 0x636e7464;  // "cntd" (sqlite.org/pragma.html, application_id)

// Of a new database. A change of a counter writes its whole page, to the log and later to the
// database: with SQLite's own 4,096, four times as much where there are many counters. Rows of up
// to 231 bytes, those of the longest names, need no overflow page (sqlite.org/fileformat2.html).
constexpr int kPageBytes = 1'024;

// Each turns the version before it into the next. Only append: databases of all versions are in
// use.
constexpr std::array<const char*, kSchemaVersion> kMigrations = {
    "CREATE TABLE counters (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL, "
    "created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT, WITHOUT ROWID",

    // keys_state has one row: how many keys there are, and where their sweep continues.
    "CREATE TABLE keys (key TEXT NOT NULL, name TEXT NOT NULL, operation TEXT NOT NULL, "
    "value INTEGER NOT NULL, previous INTEGER, expires_at INTEGER NOT NULL, "
    "PRIMARY KEY (key, name)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE keys_state (count INTEGER NOT NULL, at_key TEXT NOT NULL, "
    "at_name TEXT NOT NULL) STRICT;"
    "INSERT INTO keys_state VALUES (0, '', '')",

    // Groups are stored under the name '', with their members' outcomes in the format of
    // outcome_text.h; an increment with a window is stored with its own outcome there.
    "ALTER TABLE keys ADD COLUMN members TEXT",

    // The index covers only counters that have an end: it costs the others nothing.
    "ALTER TABLE counters ADD COLUMN expires_at INTEGER;"
    "CREATE INDEX counters_by_end ON counters (expires_at) WHERE expires_at IS NOT NULL",

    "ALTER TABLE counters ADD COLUMN window TEXT",

    // How many keys the sweep has passed: none yet, so it begins anew.
    "ALTER TABLE keys_state ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;"
    "UPDATE keys_state SET at_key = '', at_name = ''",
};

// `from_version`: 0 for a blank database.
void migrate(SQLite::Database& database, int from_version) {
  if (from_version == kSchemaVersion) return;
  database.exec("BEGIN IMMEDIATE");
  for (int version = from_version; version < kSchemaVersion; ++version) {
    database.exec(kMigrations.at(static_cast<std::size_t>(version)));
  }
  database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
  database.exec("PRAGMA user_version = " + std::to_string(kSchemaVersion));
  database.exec("COMMIT");
}

}  // namespace

Result<void> set_up_schema(SQLite::Database& database, const std::string& path) {
  const int application = database.execAndGet("PRAGMA application_id").getInt();
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  const bool blank = application == 0 && version == 0 &&
                     database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0;
  if ((!blank && application != kApplicationId) || version < 0) {
    return Error{Code::kConfig, "the database " + path +
                                    " belongs to another application; name another file with "
                                    "--store sqlite:PATH"};
  }
  if (version > kSchemaVersion) {
    return Error{Code::kConfig, "the database " + path + " has version " + std::to_string(version) +
                                    ", this program knows versions to " +
                                    std::to_string(kSchemaVersion) + "; install a newer counterd"};
  }
  if (blank) database.exec("PRAGMA page_size = " + std::to_string(kPageBytes));
  // Not inside a transaction: SQLite changes the journal mode only outside of one.
  const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
  if (mode != "wal") {
    return Error{Code::kConfig, "the database " + path + " cannot use a write-ahead log"};
  }
  migrate(database, version);
  // One that had no write-ahead log, as made by VACUUM INTO, gets it when it is next read.
  database.execAndGet("SELECT count(*) FROM sqlite_schema");
  return {};
}

}  // namespace counterd
