// Catch2 in both of the versions that we build with: 2.13, one header, and 3.7, a library.
//
// Tests use what both have. Assertions belong to the test's own thread and process: other threads
// and children report back what they saw.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <ostream>
#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

// So that a failed comparison shows a word.
inline std::ostream& operator<<(std::ostream& out, Code code) {
  return out << code_info(code).type;
}

// The error has this code, and its message these words.
inline void check_error(const Error& error, Code code, std::string_view words) {
  CAPTURE(error.message, words);
  CHECK(error.code == code);
  CHECK(error.message.find(words) != std::string::npos);
}

}  // namespace counterd
