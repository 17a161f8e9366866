// The tables of an SQLite database, and how those of older versions are migrated.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

namespace counterd {

inline constexpr int kApplicationId =
    0x636e7464;  // "cntd" (sqlite.org/pragma.html, application_id)
inline constexpr int kSchemaVersion = 5;

// Turns the tables of `from_version`, 0 for a blank database, into those of kSchemaVersion, in one
// transaction. Throws SQLite::Exception.
void migrate(SQLite::Database& database, int from_version);

}  // namespace counterd
