// A seal behind the last commit of an SQLite write-ahead log (sqlite.org/fileformat2.html, section
// 4): all that the log holds was known to be on the disk when it was closed. Who is the first to
// open it again need not doubt it, which is what takes most of the time of opening a database.
//
// It stands where SQLite writes its next frame, over it, and SQLite takes it for the rest of an
// older log. It names the file, so that a copy has none, and has the log's checksum up to there. A
// log that has a frame of its own behind its last commit, as a transaction leaves that was not
// committed, is not sealed, and no seal on it is believed. Nothing syncs the seal: one that is lost
// is a seal less, and behind a power failure all that is found is on the disk anyway.
#pragma once

#include <cstddef>
#include <string>

namespace counterd {

// Seals the log, if it is no longer than so many bytes and has a commit. One that cannot be written
// to is left without a seal. REQUIRES: all that others see of the log is on the disk, and nobody
// writes to it meanwhile
void seal_log(const std::string& path, std::size_t longest);

// Whether the log is as it was when it was sealed, and no longer than so many bytes.
bool is_sealed(const std::string& path, std::size_t longest);

}  // namespace counterd
