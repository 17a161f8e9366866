// The file of an SQLite write-ahead log (sqlite.org/fileformat2.html, section 4): a header, then
// frames, each of them a header and a page of the database. Its numbers are big-endian.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace counterd {

// Where things are, in bytes.
inline constexpr std::size_t kWalHeader = 32;
inline constexpr std::size_t kPageSizeOfWal = 8;
inline constexpr std::size_t kSaltsOfWal = 16;  // which tell its frames from those of an older log
inline constexpr std::size_t kChecksumOfWal = 24;

inline constexpr std::size_t kFrameHeader = 24;
inline constexpr std::size_t kPagesOfFrame = 4;  // of the database after a commit; 0: no commit
inline constexpr std::size_t kSaltsOfFrame = 8;
inline constexpr std::size_t kChecksumOfFrame = 16;

inline constexpr std::size_t kPair = 8;  // the salts, and the two halves of a checksum

// Whether pages can have that size (1.3.2): a power of two from 512 to 65,536.
bool is_page_size(std::uint32_t bytes);

// REQUIRES: there are 4 bytes at `at`
std::uint32_t big_endian_at(std::string_view bytes, std::size_t at);

// The checksum of a log's header and of the frames that have been added.
class WalChecksum {
 public:
  // REQUIRES: `wal` has a header
  explicit WalChecksum(std::string_view wal);
  // REQUIRES: `frame` is a header and a page whose size is_page_size()
  void add_frame(std::string_view frame);
  // Whether it is what `bytes` has at `at`.
  bool is_at(std::string_view bytes, std::size_t at) const;
  bool operator==(const std::array<std::uint32_t, 2>& halves) const { return halves_ == halves; }

 private:
  void add(std::string_view bytes);
  std::uint32_t read(std::string_view bytes, std::size_t at) const;

  bool highest_first_;  // the bytes of a word
  std::array<std::uint32_t, 2> halves_{};
};

// How far a log goes.
struct WalEnd {
  std::uint64_t salts = 0;  // its 8 bytes; they tell it from the log that begins after a checkpoint
  std::uint32_t frames = 0;

  bool operator==(const WalEnd&) const = default;
};

// How many bytes its file has up to there.
std::uint64_t bytes_up_to(const WalEnd& end, std::uint32_t page_bytes);

// What the shared memory says that the log holds.
struct WalIndex {
  WalEnd end;
  std::uint32_t page_bytes = 0;
  std::array<std::uint32_t, 2> checksum{};  // of all frames
};

struct WalReading {
  enum class State : unsigned char {
    kWhole,   // the file holds what the index says
    kLost,    // it does not
    kFailed,  // it cannot be read, or `take` has failed
  };
  State state;
  std::uint32_t whole = 0;  // how many frames, from the first one on, are as they were written
  int error = 0;            // of kFailed: errno
};

// Reads from `file` all that `index` says the log holds, and gives it to `take`, one piece after
// another: the bytes and where they are; only those that are as they were written. `take` returns
// whether to go on; if not, errno says why.
WalReading read_wal(int file, const WalIndex& index,
                    const std::function<bool(std::string_view bytes, off_t at)>& take);

}  // namespace counterd
