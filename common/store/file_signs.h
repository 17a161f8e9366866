// What the stores that use a file tell each other, in all processes: signs, which are shared locks
// of bytes far behind the file's data. Each belongs to the open file that has given it
// (F_OFD_SETLK): it is gone when that is closed, and so when its process has died, whatever other
// descriptors of the file are closed.
//
// Of one file there can be several, of each kind, from different open files. A sign has a number;
// of a larger one, what 56 bits hold of it.
#pragma once

#include <cstdint>
#include <optional>

namespace counterd {

enum class Sign : unsigned char {
  kSharedMemory,  // on a database: it is used with the shared memory whose inode is the number
  kLog,           // on a database: it is used with this log
  kDatabase,      // on a log: it is used with this database
};

// Gives the sign. REQUIRES: `file` is open for reading, and has given none of the same kind
void give_sign(int file, Sign sign, std::uint64_t number);

void take_back_sign(int file, Sign sign);

// The number of such a sign that another open file has given; nothing: there is none.
std::optional<std::uint64_t> sign_of_others(int file, Sign sign);

// The number as others see it.
std::uint64_t sign_number(std::uint64_t number);

}  // namespace counterd
