// A seal behind the last commit of an SQLite write-ahead log (sqlite.org/fileformat2.html, section
// 4): all that the file holds of the log was known to be on the disk when it was closed. Who is the
// first to open it again need not doubt it, which is what takes most of the time of opening a
// database.
//
// It stands where SQLite writes its next frame, over it, and SQLite takes it for the rest of an
// older log. It names the file, by its number and when it was made, so that a copy to a new
// file has none, and has the log's checksum up to there. Nothing syncs it: one that is lost is a
// seal less, and behind a power failure all that is found is on the disk anyway.
#pragma once

#include <cstddef>
#include <string>

namespace counterd {

// Seals the log, if it is of so many frames, the last one that of a commit, and ends within so many
// bytes. Not if the file has more of the same log behind them: what a transaction has left that was
// not committed, or a commit that nobody was told of. One that cannot be written to is left without
// a seal.
// REQUIRES: these frames are on the disk, and nobody writes to the log meanwhile
void seal_log(const std::string& path, std::size_t frames, std::size_t longest);

// Whether the log is as it was when it was sealed, and ends within so many bytes.
bool is_sealed(const std::string& path, std::size_t longest);

}  // namespace counterd
