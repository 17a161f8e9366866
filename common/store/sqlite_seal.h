// A seal after the last commit of an SQLite write-ahead log (sqlite.org/fileformat2.html, section
// 4): all that the file holds of the log was known to be on the disk when it was closed. The first
// to open it again need not doubt it; doubting takes most of the time of opening a database.
//
// It stands where SQLite will write its next frame, over it, and SQLite takes it for the rest of an
// older log. It names the file, by its number and when it was made, so that a copy in a new file
// has no seal, and has the log's checksum up to there. Nothing syncs it: losing it only means that
// there is no seal, and after a power failure all that is found is on the disk anyway.
#pragma once

#include <cstddef>
#include <string>

namespace counterd {

// The longest log that is sealed, and taken as it is: moving a longer one into the database takes
// less time than SQLite needs to read it again each time the database is opened.
inline constexpr std::size_t kLongestSealedBytes = 128 << 10;

// Seals the log if it has `frames` frames, the last one that of a commit, and ends within
// kLongestSealedBytes. Not if the file has more of the same log after them: what an uncommitted
// transaction has left, or a commit that nobody was told of. A log that cannot be written to is
// left without a seal. REQUIRES: these frames are on the disk, and nobody writes to the log
// meanwhile
void seal_wal(const std::string& path, std::size_t frames);

// Whether the log is as it was when it was sealed, with `frames` frames, and ends within
// kLongestSealedBytes. Where it has lost the frames after its seal, which they were written over,
// the seal may be there again: so `frames` is what its index says.
bool is_sealed(const std::string& path, std::size_t frames);

}  // namespace counterd
