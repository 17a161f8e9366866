// What every fuzz target is made of: libFuzzer calls LLVMFuzzerTestOneInput() with each input.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// Ends the run, so that libFuzzer keeps the input, unless `condition` holds. A macro for its line.
#define EXPECT(condition)                                                          \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

namespace counterd {

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// An idempotency key as a string of RFC 9651.
inline std::string quoted_key(std::string_view key) {
  std::string quoted = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

// A message is one short line, whatever the input was: it goes to logs and terminals.
inline void expect_message(const Error& error) {
  EXPECT(!error.message.empty());
  EXPECT(error.message.size() < 1024);
  for (const char c : error.message) {
    EXPECT(static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
  }
}

}  // namespace counterd
