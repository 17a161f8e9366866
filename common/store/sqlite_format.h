// Where things are in an SQLite write-ahead log (sqlite.org/fileformat2.html, section 4), in bytes.
// Numbers have their highest byte first.
#pragma once

#include <cstddef>

namespace counterd::sqlite_format {

inline constexpr std::size_t kLogHeader = 32;
inline constexpr std::size_t kPageSizeOfLog = 8;
inline constexpr std::size_t kSaltsOfLog = 16;  // which tell its frames from those of an older log
inline constexpr std::size_t kChecksumOfLog = 24;

inline constexpr std::size_t kFrameHeader = 24;
inline constexpr std::size_t kPagesOfFrame = 4;  // of the database behind a commit; 0: no commit
inline constexpr std::size_t kSaltsOfFrame = 8;
inline constexpr std::size_t kChecksumOfFrame = 16;

inline constexpr std::size_t kPair = 8;  // the salts, and the two halves of a checksum

}  // namespace counterd::sqlite_format
