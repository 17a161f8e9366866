// What goes wrong: injects faults of many kinds at random moments, and ends those that it began.
//
// Belongs to one thread, the one that made the servers: they end with it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/daemon_process.h"
#include "tests/faults/client.h"
#include "tests/faults/disk.h"
#include "tests/faults/power.h"
#include "tests/faults/proxy.h"
#include "tests/faults/random.h"
#include "tests/redis_server.h"

namespace counterd::faults {

// The servers of one run, and what faults are made with. What belongs to the other engine is null.
struct World {
  DaemonProcess* first = nullptr;
  DaemonProcess* second = nullptr;  // on the same store
  ToolAsker* tool = nullptr;
  Proxy* client_proxy = nullptr;
  DiskControl* disk = nullptr;
  PowerSupply* power = nullptr;
  RedisServer* redis = nullptr;
  Proxy* redis_proxy = nullptr;
};

// The names of all faults, for people.
std::string names_of_faults();
// Whether there is such a fault.
bool is_fault(const std::string& name);

class Nemesis {
 public:
  // `only`: the names of the faults to choose from; empty: all that the world has.
  Nemesis(World world, Random random, const std::vector<std::string>& only);

  // Injects one fault, after a pause.
  void act();
  // Ends all faults. All servers run then.
  void heal();
  // Everything dies, and with SQLite the power fails as well, if that is one of the faults.
  void end_with_a_crash();

  std::map<std::string, std::int64_t> faults() const;

 private:
  struct Fault;
  struct Ending {
    std::int64_t due = 0;
    std::function<void()> end;
  };
  static const std::vector<Fault>& all_faults();
  friend std::string names_of_faults();
  friend bool is_fault(const std::string& name);

  void pause();
  void end_what_is_due();
  void later(std::int64_t first_ms, std::int64_t last_ms, std::function<void()> end);
  void crash(bool both);
  void stop_all();
  void start_all();
  DaemonProcess& some_daemon();
  pid_t some_worker();

  void kill_worker();
  void kill_all();
  void stop_worker();
  void terminate();
  void scale();
  void toggle_second();
  void kill_tool();
  void jump_clock();
  void spoil_client();
  void fail_calls(Call call, int error, int times);
  void fail_read();
  void fail_write();
  void refuse_writes();
  void fail_sync();
  void lose_pages();
  bool serves(const DaemonProcess& daemon);
  void fill_disk();
  void slow_checkpoint();
  void lose_power();
  void kill_redis();
  void stop_redis();
  void restart_redis();
  void flush_scripts();
  void spoil_redis();

  const World world_;
  Random random_;
  std::vector<const Fault*> chosen_;  // each as often as its weight says
  std::vector<Ending> endings_;
  std::map<std::string, std::int64_t> counts_;
};

}  // namespace counterd::faults
