// How the stores that use a file, in any process, signal to each other: by signs, which are shared
// locks on bytes far beyond the file's data. Each belongs to the open file that gave it
// (F_OFD_SETLK): it goes when that is closed, and so when its process dies, whichever other
// descriptors of the file are closed.
//
// A file can have several signs of each kind, from different open files. A sign has a number, cut
// to 56 bits if it is larger.
#pragma once

#include <cstdint>
#include <optional>

namespace counterd {

enum class Sign : unsigned char {
  kSharedMemory,  // on a database: it is used with the shared memory whose inode is the number
  kLog,           // on a database: it is used with this log
  kDatabase,      // on a log: it is used with this database
};

// Gives the sign; where the system has no room for another lock, others do not see it. REQUIRES:
// `file` is open for reading, and has given none of the same kind
void give_sign(int file, Sign sign, std::uint64_t number);

void take_back_sign(int file, Sign sign);

// The number of such a sign that another open file has given; nothing: there is none.
std::optional<std::uint64_t> sign_of_others(int file, Sign sign);

// The number as others see it.
std::uint64_t sign_number(std::uint64_t number);

}  // namespace counterd
