// A seal behind the last frame of an SQLite write-ahead log (sqlite.org/fileformat2.html, section
// 4): all that the log holds was known to be on the disk when its last user closed it. Who finds
// one need not doubt the log, which is what takes most of the time of opening a database.
//
// It is bytes that SQLite takes for the rest of an older log and writes its next frame over, and
// has the checksum of all frames before it, so that it is no other log's. Nothing syncs it: one
// that is lost is a seal less, and behind a power failure all that is found is on the disk anyway.
#pragma once

#include <cstddef>
#include <string>

namespace counterd {

// The longest log that is sealed, in bytes: a longer one is moved into the database sooner than
// SQLite reads it again and again, each time that the database is opened.
inline constexpr std::size_t kLongestSealedLog = 128 << 10;

// Seals the log, if it is not too long and has a frame. One that cannot be written to is left
// without a seal.
// REQUIRES: all that others see of the log is on the disk, and nobody writes to it meanwhile
void seal_log(const std::string& path);

// Whether the log is as it was when it was sealed.
bool is_sealed(const std::string& path);

}  // namespace counterd
