// The main() of every test program. Our own, because version 2 would generate one and version 3
// would link one more library for it.
#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include <csignal>

#include "tests/catch.h"

int main(int argc, char** argv) {
  // As both programs do: a peer that is gone is an error, not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  return Catch::Session().run(argc, argv);
}
