#include "common/store/sqlite_schema.h"

#include <array>
#include <string>

namespace counterd {
namespace {

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
    // outcome_text.h; an increment with a window has its own.
    "ALTER TABLE keys ADD COLUMN members TEXT",

    // The index covers only counters that have an end: it costs the others nothing.
    "ALTER TABLE counters ADD COLUMN expires_at INTEGER;"
    "CREATE INDEX counters_by_end ON counters (expires_at) WHERE expires_at IS NOT NULL",

    "ALTER TABLE counters ADD COLUMN window TEXT",
};

}  // namespace

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

}  // namespace counterd
