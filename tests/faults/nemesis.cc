#include "tests/faults/nemesis.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <thread>
#include <utility>

#include "common/control_socket.h"
#include "tests/faults/clock.h"
#include "tests/http_socket.h"

namespace counterd::faults {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kHourNs = 3'600'000'000'000;
constexpr int kMostWorkers = 4;
constexpr int kForever = 1'000'000;  // calls

void sleep_ms(std::int64_t time) {
  std::this_thread::sleep_for(std::chrono::milliseconds(time));
}

std::int64_t sum_of(const Proxy& proxy) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < kSpoils; ++i) sum += proxy.spoilt(static_cast<Spoil>(i));
  return sum;
}

}  // namespace

struct Nemesis::Fault {
  std::string name;
  int weight;
  void (Nemesis::*act)();
  enum class Where : unsigned char { kAnywhere, kSqlite, kRedis } where = Where::kAnywhere;
};

const std::vector<Nemesis::Fault>& Nemesis::all_faults() {
  using Where = Fault::Where;
  static const std::vector<Fault> faults = {
      {"kill-worker", 10, &Nemesis::kill_worker},
      {"kill-all", 3, &Nemesis::kill_all},
      {"stop-worker", 5, &Nemesis::stop_worker},
      {"terminate", 3, &Nemesis::terminate},
      {"scale", 4, &Nemesis::scale},
      {"second-daemon", 3, &Nemesis::toggle_second},
      {"kill-tool", 4, &Nemesis::kill_tool},
      {"clock", 4, &Nemesis::jump_clock},
      {"client-proxy", 20, &Nemesis::spoil_client},
      {"read-error", 4, &Nemesis::fail_read, Where::kSqlite},
      {"write-error", 6, &Nemesis::fail_write, Where::kSqlite},
      {"sync-error", 6, &Nemesis::fail_sync, Where::kSqlite},
      {"lost-pages", 4, &Nemesis::lose_pages, Where::kSqlite},
      {"read-only", 3, &Nemesis::refuse_writes, Where::kSqlite},
      {"full-disk", 3, &Nemesis::fill_disk, Where::kSqlite},
      {"slow-checkpoint", 3, &Nemesis::slow_checkpoint, Where::kSqlite},
      {"power-loss", 4, &Nemesis::lose_power, Where::kSqlite},
      {"redis-kill", 3, &Nemesis::kill_redis, Where::kRedis},
      {"redis-stop", 3, &Nemesis::stop_redis, Where::kRedis},
      {"redis-restart", 2, &Nemesis::restart_redis, Where::kRedis},
      {"script-flush", 5, &Nemesis::flush_scripts, Where::kRedis},
      {"redis-proxy", 30, &Nemesis::spoil_redis, Where::kRedis},
  };
  return faults;
}

std::string names_of_faults() {
  std::string names;
  for (const Nemesis::Fault& fault : Nemesis::all_faults()) {
    names += (names.empty() ? "" : ",") + fault.name;
  }
  return names;
}

bool is_fault(const std::string& name) {
  const auto& faults = Nemesis::all_faults();
  return std::any_of(faults.begin(), faults.end(),
                     [&](const Nemesis::Fault& fault) { return fault.name == name; });
}

Nemesis::Nemesis(World world, Random random, const std::vector<std::string>& only)
    : world_(world), random_(std::move(random)) {
  for (const Fault& fault : all_faults()) {
    if (fault.where == Fault::Where::kSqlite && world_.power == nullptr) continue;
    if (fault.where == Fault::Where::kRedis && world_.redis == nullptr) continue;
    const bool wanted =
        only.empty() || std::find(only.begin(), only.end(), fault.name) != only.end();
    if (wanted) chosen_.insert(chosen_.end(), static_cast<std::size_t>(fault.weight), &fault);
  }
}

void Nemesis::act() {
  pause();
  if (chosen_.empty()) return;
  const Fault& fault =
      *chosen_[static_cast<std::size_t>(random_.below(static_cast<std::int64_t>(chosen_.size())))];
  ++counts_[fault.name];
  (this->*fault.act)();
}

void Nemesis::pause() {
  const std::int64_t until = now_ns() + random_.between(10, 200) * kMs;
  do {
    sleep_ms(5);
    end_what_is_due();
  } while (now_ns() < until);
}

void Nemesis::end_what_is_due() {
  const std::int64_t now = now_ns();
  for (std::size_t i = 0; i < endings_.size();) {
    if (endings_[i].due > now) {
      ++i;
      continue;
    }
    endings_[i].end();
    endings_.erase(endings_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// Has `end` end what has just begun, after some time or in heal().
void Nemesis::later(std::int64_t first_ms, std::int64_t last_ms, std::function<void()> end) {
  endings_.push_back({now_ns() + random_.between(first_ms, last_ms) * kMs, std::move(end)});
}

void Nemesis::heal() {
  for (const Ending& ending : endings_) ending.end();
  endings_.clear();
  world_.disk->call = Call::kNone;
  world_.disk->full = 0;
}

void Nemesis::end_with_a_crash() {
  const bool power = std::any_of(chosen_.begin(), chosen_.end(), [](const Fault* fault) {
    return fault->act == &Nemesis::lose_power;
  });
  if (power) return lose_power();
  crash(true);
  start_all();
}

std::map<std::string, std::int64_t> Nemesis::faults() const {
  std::map<std::string, std::int64_t> faults = counts_;
  // A fault that no traffic met has not happened.
  if (faults.contains("client-proxy")) faults["client-proxy"] = sum_of(*world_.client_proxy);
  if (faults.contains("redis-proxy")) faults["redis-proxy"] = sum_of(*world_.redis_proxy);
  return faults;
}

void Nemesis::crash(bool both) {
  if (world_.first->pid() != 0) world_.first->kill_all();
  if (both && world_.second->pid() != 0) world_.second->kill_all();
}

void Nemesis::stop_all() {
  if (world_.first->pid() != 0) world_.first->stop();
  if (world_.second->pid() != 0) world_.second->stop();
}

void Nemesis::start_all() {
  heal();
  if (world_.first->pid() == 0) world_.first->start();
  if (world_.second->pid() == 0) world_.second->start();
}

DaemonProcess& Nemesis::some_daemon() {
  return world_.second->pid() != 0 && random_.one_in(4) ? *world_.second : *world_.first;
}

// 0: none is ready now.
pid_t Nemesis::some_worker() {
  const std::vector<pid_t> workers = some_daemon().worker_pids();
  if (workers.empty()) return 0;
  return workers[static_cast<std::size_t>(
      random_.below(static_cast<std::int64_t>(workers.size())))];
}

void Nemesis::kill_worker() {
  if (const pid_t worker = some_worker(); worker != 0) kill(worker, SIGKILL);
}

void Nemesis::kill_all() {
  crash(random_.one_in(2));
  start_all();
}

void Nemesis::stop_worker() {
  const pid_t worker = some_worker();
  if (worker == 0) return;
  kill(worker, SIGSTOP);
  const auto end = [worker] { kill(worker, SIGCONT); };
  // Some stops are longer than clients and the store wait.
  if (random_.one_in(6)) {
    later(2'500, 4'000, end);
  } else {
    later(20, 800, end);
  }
}

void Nemesis::terminate() {
  heal();  // one that is stopped would not end
  DaemonProcess& daemon = some_daemon();
  daemon.stop();
  daemon.start();
}

void Nemesis::scale() {
  const ControlRequest request{ControlCommand::kScale,
                               static_cast<int>(random_.between(1, kMostWorkers))};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  static_cast<void>(ask_daemon(world_.first->endpoint(), request, deadline).ok());
}

void Nemesis::toggle_second() {
  if (world_.second->pid() == 0) {
    heal();
    world_.second->start();
  } else if (random_.one_in(2)) {
    heal();
    world_.second->stop();
  } else {
    world_.second->kill_all();
  }
}

void Nemesis::kill_tool() {
  // The one that runs next.
  for (int i = 0; i < 50 && !world_.tool->kill(); ++i) sleep_ms(1);
}

// Within the lifetime of keys, which the clock decides.
void Nemesis::jump_clock() {
  world_.disk->clock_offset_ns = random_.between(-6 * kHourNs, 6 * kHourNs);
}

void Nemesis::spoil_client() {
  world_.client_proxy->spoil(static_cast<Spoil>(random_.below(kSpoils)));
}

void Nemesis::fail_calls(Call call, int error, int times) {
  world_.disk->error = error;
  world_.disk->failing = times;
  world_.disk->spared = static_cast<int>(random_.below(10));
  world_.disk->call = call;
}

void Nemesis::fail_read() {
  fail_calls(Call::kRead, EIO, static_cast<int>(random_.between(1, 3)));
}

void Nemesis::fail_write() {
  fail_calls(Call::kWrite, random_.one_in(2) ? EIO : ENOSPC,
             static_cast<int>(random_.between(1, 3)));
}

// Like a file system that has met an error and allows no more writes until it is remounted.
void Nemesis::refuse_writes() {
  fail_calls(Call::kWrite, EROFS, kForever);
  later(50, 500, [this] { world_.disk->call = Call::kNone; });
}

// Fails one sync, or all of them for a while, after which everything may die or be ended: what the
// last commit has left is then only in the kernel's memory, and the power may fail before a
// checkpoint has written it again.
void Nemesis::fail_sync() {
  if (random_.one_in(4)) return fail_calls(Call::kSync, EIO, 1);
  const bool in_order = random_.one_in(3);
  const bool ends = in_order || random_.one_in(2);
  if (in_order) heal();  // one that is stopped would not end
  fail_calls(Call::kSync, EIO, kForever);
  sleep_ms(random_.between(5, 60));
  if (in_order) {
    stop_all();
  } else if (ends) {
    crash(true);
  }
  world_.disk->call = Call::kNone;
  if (!ends) return;
  heal();  // if the disk is full as well, no daemon starts
  world_.first->start();
  sleep_ms(random_.below(30));
  if (!in_order && random_.one_in(2)) return start_all();
  ++counts_["power-loss"];
  lose_power();
}

// Fails syncs for a while, and has the kernel forget what they were to write. If a daemon refuses
// to go on after that, all are ended, which is what it asks for.
void Nemesis::lose_pages() {
  heal();  // one that is stopped in the middle of a write would not let the files be changed
  fail_calls(Call::kSync, EIO, random_.one_in(2) ? kForever : 1);
  for (int i = 0; i < 3; ++i) {
    sleep_ms(random_.between(1, 20));
    world_.power->forget(random_);
  }
  world_.disk->call = Call::kNone;
  if (serves(*world_.first) && (world_.second->pid() == 0 || serves(*world_.second))) return;
  ++counts_["lost-pages-refused"];
  const auto no_tool = world_.tool->forbid();
  heal();
  stop_all();
  start_all();
}

// Whether its workers come to answer for their stores: so many connections meet all of them.
bool Nemesis::serves(const DaemonProcess& daemon) {
  constexpr int kConnections = 8;
  const std::int64_t end = now_ns() + 5'000 * kMs;
  for (int ready = 0; ready < kConnections;) {
    end_what_is_due();  // a stopped worker, for one
    HttpSocket socket(daemon.endpoint());
    const auto reply = socket.is_open() && socket.send(request("GET", "/readyz"))
                           ? socket.receive(std::chrono::milliseconds(500))
                           : std::nullopt;
    ready = reply && reply->status == 200 ? ready + 1 : 0;
    if (ready == 0 && now_ns() > end) return false;
    if (ready == 0) sleep_ms(20);
  }
  return true;
}

void Nemesis::fill_disk() {
  world_.disk->full = 1;
  later(50, 500, [this] { world_.disk->full = 0; });
}

void Nemesis::slow_checkpoint() {
  world_.disk->checkpoint_pause_ms = static_cast<int>(random_.between(1, 10));
  later(100, 2'000, [this] { world_.disk->checkpoint_pause_ms = 0; });
}

void Nemesis::lose_power() {
  const auto no_tool = world_.tool->forbid();
  if (random_.one_in(4)) {  // after a clean end, which empties the log
    heal();
    stop_all();
  }
  crash(true);
  heal();
  world_.power->fail(random_);
  start_all();
}

void Nemesis::kill_redis() {
  world_.redis->kill();
  sleep_ms(random_.below(100));
  world_.redis->start();
}

void Nemesis::stop_redis() {
  world_.redis->pause();
  sleep_ms(random_.one_in(6) ? random_.between(2'000, 3'000) : random_.between(20, 600));
  world_.redis->resume();
}

void Nemesis::restart_redis() {
  world_.redis->restart();
}

void Nemesis::flush_scripts() {
  static_cast<void>(world_.redis->command({"SCRIPT", "FLUSH"}));
}

void Nemesis::spoil_redis() {
  world_.redis_proxy->spoil(static_cast<Spoil>(random_.below(kSpoils)));
}

}  // namespace counterd::faults
