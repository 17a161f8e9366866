// A shared library for LD_PRELOAD: makes a fast disk slow. Each fdatasync() and fsync() takes
// BENCH_SYNC_DELAY_US microseconds more; the sync itself is still done.
#include <dlfcn.h>
#include <time.h>

#include <cerrno>
#include <cstdlib>

namespace {

template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) static auto* const real_##name = real(&::name, #name)

void delay() {
  static const long delay_us = [] {
    const char* text = getenv("BENCH_SYNC_DELAY_US");
    return text == nullptr ? 0L : strtol(text, nullptr, 10);
  }();
  const int error = errno;
  timespec left{delay_us / 1'000'000, delay_us % 1'000'000 * 1'000};
  while (nanosleep(&left, &left) != 0) continue;
  errno = error;
}

}  // namespace

extern "C" {

int fdatasync(int fd) {
  REAL(fdatasync);
  const int result = real_fdatasync(fd);
  delay();
  return result;
}

int fsync(int fd) {
  REAL(fsync);
  const int result = real_fsync(fd);
  delay();
  return result;
}

}  // extern "C"
