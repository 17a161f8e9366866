// How many processors this process may use at once.
#pragma once

#include <sched.h>

namespace counterd {

// At least 1. According to the affinity of the process, which taskset(1) and the cpuset of a
// container limit (std::thread::hardware_concurrency gives the number that the machine has).
inline int usable_processors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace counterd
