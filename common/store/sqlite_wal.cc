#include "common/store/sqlite_wal.h"

#include <endian.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

namespace counterd {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

std::uint32_t word_at(std::string_view bytes, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

using State = WalReading::State;

// Fills `bytes`; kLost: the file ends before that.
State read_at(int file, off_t at, std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t size =
        pread(file, bytes.data() + done, bytes.size() - done, at + static_cast<off_t>(done));
    if (size < 0) return State::kFailed;
    if (size == 0) return State::kLost;
    done += static_cast<std::size_t>(size);
  }
  return State::kWhole;
}

bool has_salts(std::string_view bytes, std::size_t at, const WalIndex& index) {
  return std::memcmp(bytes.data() + at, &index.end.salts, kPair) == 0;
}

// Whether `wal` is the header of the log that the index tells of. Both may have been spoilt alike.
bool is_its_header(const WalChecksum& checksum, const WalIndex& index, std::string_view wal) {
  return big_endian_at(wal, kPageSizeOfWal) == index.page_bytes && is_page_size(index.page_bytes) &&
         has_salts(wal, kSaltsOfWal, index) && checksum.is_at(wal, kChecksumOfWal);
}

// Adds the frames that `bytes` consists of, and counts them, up to one that is not of this log, or
// not as it was written.
std::uint32_t add_frames(WalChecksum& checksum, const WalIndex& index, std::string_view bytes) {
  const std::size_t size = kFrameHeader + index.page_bytes;
  std::uint32_t count = 0;
  for (; bytes.size() >= size; bytes.remove_prefix(size), ++count) {
    const std::string_view frame = bytes.substr(0, size);
    if (!has_salts(frame, kSaltsOfFrame, index)) break;
    checksum.add_frame(frame);
    if (!checksum.is_at(frame, kChecksumOfFrame)) break;
  }
  return count;
}

}  // namespace

bool is_page_size(std::uint32_t bytes) {
  return std::has_single_bit(bytes) && bytes >= 512 && bytes <= 65'536;
}

std::uint32_t big_endian_at(std::string_view bytes, std::size_t at) {
  return be32toh(word_at(bytes, at));
}

// The lowest bit of the log's first number says how words are read.
WalChecksum::WalChecksum(std::string_view wal) : highest_first_((big_endian_at(wal, 0) & 1) != 0) {
  add(wal.substr(0, kChecksumOfWal));
}

void WalChecksum::add_frame(std::string_view frame) {
  add(frame.substr(0, kSaltsOfFrame));
  add(frame.substr(kFrameHeader));
}

bool WalChecksum::is_at(std::string_view bytes, std::size_t at) const {
  return big_endian_at(bytes, at) == halves_[0] && big_endian_at(bytes, at + 4) == halves_[1];
}

// A multiple of 8 bytes.
void WalChecksum::add(std::string_view bytes) {
  auto [first, second] = halves_;
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    first += read(bytes, at) + second;
    second += read(bytes, at + 4) + first;
  }
  halves_ = {first, second};
}

std::uint32_t WalChecksum::read(std::string_view bytes, std::size_t at) const {
  const std::uint32_t word = word_at(bytes, at);
  return highest_first_ ? be32toh(word) : le32toh(word);
}

std::uint64_t bytes_up_to(const WalEnd& end, std::uint32_t page_bytes) {
  return end.frames == 0 ? 0 : kWalHeader + end.frames * (kFrameHeader + page_bytes);
}

WalReading read_wal(int file, const WalIndex& index,
                    const std::function<bool(std::string_view bytes, off_t at)>& take) {
  if (index.end.frames == 0) return {State::kWhole};
  std::string piece(kWalHeader, '\0');
  if (const State read = read_at(file, 0, piece); read != State::kWhole) return {read, 0, errno};
  WalChecksum checksum(piece);
  if (!is_its_header(checksum, index, piece)) return {State::kLost};
  if (!take(piece, 0)) return {State::kFailed, 0, errno};
  const std::size_t frame = kFrameHeader + index.page_bytes;
  const auto most = static_cast<std::uint32_t>(std::max<std::size_t>(kPieceBytes / frame, 1));
  for (std::uint32_t done = 0; done < index.end.frames;) {
    const std::uint32_t count = std::min(most, index.end.frames - done);
    piece.assign(count * frame, '\0');
    const auto at = static_cast<off_t>(kWalHeader + done * frame);
    const State read = read_at(file, at, piece);
    if (read == State::kFailed) return {read, done, errno};
    const std::uint32_t whole = add_frames(checksum, index, piece);
    if (whole < count) return {State::kLost, done + whole};
    if (!take(piece, at)) return {State::kFailed, done, errno};
    done += count;
  }
  if (checksum == index.checksum) return {State::kWhole, index.end.frames};
  return {State::kLost, 0};
}

}  // namespace counterd
