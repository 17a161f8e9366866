// The tables of an SQLite database, and how those of older versions are migrated.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <string>

#include "common/error.h"

namespace counterd {

inline constexpr int kSchemaVersion = 6;

// Gives a blank database, and one of an older version, the tables of kSchemaVersion, in one
// transaction, and a write-ahead log. kConfig: it belongs to another application or is newer than
// this program; `path` names it in the message. Throws SQLite::Exception.
Result<void> set_up_schema(SQLite::Database& database, const std::string& path);

}  // namespace counterd
