// What is read of a log that SQLite has not written.
#include "common/store/sqlite_wal.h"

#include <endian.h>
#include <fcntl.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/unique_fd.h"
#include "tests/catch.h"
#include "tests/temporary_directory.h"

namespace counterd {
namespace {

std::string words(std::initializer_list<std::uint32_t> numbers) {
  std::string bytes;
  for (const std::uint32_t number : numbers) {
    const std::uint32_t word = htobe32(number);
    bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return bytes;
}

// The header of a log, with its checksum.
std::string header_with(std::uint32_t page_bytes) {
  constexpr std::uint32_t kHighestFirst = 0x377f0683;
  const std::string begin = words({kHighestFirst, 3'007'000, page_bytes, 0, 1, 2});
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  for (std::size_t at = 0; at < begin.size(); at += 8) {
    first += big_endian_at(begin, at) + second;
    second += big_endian_at(begin, at + 4) + first;
  }
  return begin + words({first, second});
}

// Whether anything of a log is read, of whose one frame the index says that it has such a page.
bool is_read(std::uint32_t page_bytes) {
  const TemporaryDirectory directory;
  const std::string path = directory / "log";
  const std::string header = header_with(page_bytes);
  std::ofstream(path, std::ios::binary) << header << std::string(kFrameHeader + page_bytes, 'x');
  WalIndex index;
  std::memcpy(&index.end.salts, header.data() + kSaltsOfWal, kPair);
  index.end.frames = 1;
  index.page_bytes = page_bytes;
  bool taken = false;
  const UniqueFd log(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const WalReading reading =
      read_wal(log.get(), index, [&](std::string_view, off_t) { return taken = true; });
  CHECK(reading.state == WalReading::State::kLost);
  return taken;
}

TEST_CASE("a log whose pages have a size that none of SQLite's has is not read", "[sqlite]") {
  for (const std::uint32_t size : {512, 1'024, 65'536}) CHECK(is_read(size));
  for (const std::uint32_t size : {0, 6, 256, 1'001, 1'016, 65'535, 131'072}) {
    CAPTURE(size);
    CHECK_FALSE(is_read(size));
  }
}

}  // namespace
}  // namespace counterd
