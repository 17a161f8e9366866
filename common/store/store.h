// The store: where counts live. This header is the contract that every engine fulfils.
// tests/store_contract_test.cc holds each engine to it, as far as calls to a store can show; what
// only syncs and crashes can show is left to the tests of each engine and scripts/faults.
//
// Threads: a Store belongs to the thread that opened it or was handed it; no two threads call it
// at the same time. Other processes may use Stores on the same place at the same time. Within one
// process, several on one place are closed together: closing one drops the locks that SQLite has on
// the file in that process.
//
// Crashes: what an outcome says (after make_durable() if the batch changes something) and what a
// list shows is durable as far as StoreStatus::durability says:
//   sqlite, Sync::kFull    survives a crash of every process, of the system and of its power
//   sqlite, Sync::kNormal  survives a crash of every process; a power failure may lose the latest
//                          changes, never tear one
//   redis                  survives what the server's own persistence survives; read at connect
//
// Counters: the whole signed 64-bit range is exact. An increment starts a missing counter at the
// operation's `initial` value, 0 unless given; a reset creates it, and its outcome then has no
// `previous`; a report or delete of it, and a reset that may not create, are kMissing. An increment
// does what add_within() of operation.h says: beyond the range it is kOutOfRange, beyond a bound
// kBeyondBound; it then leaves the value alone and creates no counter, and the rest of the batch
// goes on. An increment that clamps has a `previous`, and is applied even if it adds nothing: it
// creates the counter, and counts as its latest change.
//
// Groups: the members of a group are applied in order, with nothing from others in between, and are
// one snapshot if they are reports; the outcome of a kEach is kOk even if members are refused. If a
// member of a kAll is refused, kMissing included, nothing of the group is applied.
//
// Ends: a counter that has an end is missing everywhere from that moment on (redis: a millisecond
// later), and the next change that creates it starts a new one. An increment with a lifetime sets
// the end of a counter that it creates and, if it renews, of any; nothing else moves an end, and a
// reset leaves it. The clock is the system clock (sqlite: of this process; redis: of the server);
// if it jumps back, counters that have not left the store yet are there again. When a counter was
// created and updated is told by the clock of the process that did so. Counters that have
// ended are removed from the store a few at a time, with later changes.
//
// Windows: a counter that an increment with a window creates ends when that window does, as
// window_end() of calendar.h says, and each increment that names the window reports when. What
// counts is the clock above; if a Redis server's clock is more than a minute from ours, an
// increment with a window, or a group that has one, may be kClocksApart: nothing happened. A
// counter keeps its window until it ends or is deleted: an increment with another window, even on a
// counter that has none, is kOtherWindow, as is one that would renew its time to live.
//
// Checks: an increment that only checks has the code that it would otherwise have had, and the
// current value. It changes nothing and takes no turn; within a group it refuses and sees what an
// increment in its place would.
//
// Keys: a change with an idempotency key is applied once, however often it is requested while the
// key is known. The same key with the same operation (bounds, initial value, lifetime, window) on
// the same counter gets the first outcome again, marked `replayed`, and changes nothing; with
// another operation it is kKeyReused. The key is recorded with the change or not at all, and
// survives what the change survives. A refused operation leaves its key unused. A group is applied
// once as a whole, and gets all of its first outcomes again; groups have keys of their own,
// separate from those of each counter. A key is known for StoreOptions::key_lifetime or the
// operation's own, shorter one, and for StoreOptions::key_reserve more, by the system clock
// (sqlite: of this process; redis: of the server), and may be known a little longer; if the clock
// jumps, that much shorter or longer. While StoreOptions::max_keys are known, a change with a new
// key is kTooManyKeys.
//
// Errors: kUnavailable means that nothing happened; so does kStoreFull, which also means that the
// store has no room for more: reports still work, and changes will once there is room again.
// kUnknown means that it may have happened, or may still happen; only changes are ever unknown.
// Once a change has been handed to a server, or its commit has begun, a failure is never
// kUnavailable, and is kStoreFull only if the commit cannot have been written. After a failed
// commit or sync, nothing is answered until the store is known to hold on its disk what it shows.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/deadline.h"
#include "common/error.h"
#include "common/limits.h"
#include "common/operation.h"

namespace counterd {

enum class Sync : unsigned char { kFull, kNormal };

// "full" or "normal"; kConfig: the text is neither.
Result<Sync> parse_sync(std::string_view text);
std::string to_string(Sync sync);

// kConfig, unless `prefix` may begin the keys of a Redis store: up to 128 visible ASCII characters.
Result<void> check_redis_prefix(std::string_view prefix);

// The longest StoreOptions::timeout: a quarter of the time for which Redis knows a batch.
inline constexpr std::chrono::minutes kMaxStoreTimeout{15};

struct StoreOptions {
  std::string url;  // see store_url.h
  // sqlite: see above.
  Sync sync = Sync::kFull;
  // sqlite: create the database if there is none. Off where a missing one means that it was lost.
  bool create = true;
  // sqlite: on closing the store as its last user, move its log into the database, so that this one
  // file is all of it, unless another program is in the way. Takes as long as the disk does, so it
  // is for those that keep a store open.
  bool empty_wal = false;
  // redis: what every key begins with, so that several daemons can share a server.
  std::string redis_prefix = "counterd:";
  // redis: file whose first line is the password; empty: none.
  std::string redis_password_file;
  // Refuse a store whose acknowledged changes a power failure or an eviction could lose.
  bool require_durable = false;
  // How long idempotency keys are known; up to kMaxKeyLifetime (limits.h).
  std::chrono::milliseconds key_lifetime = kDefaultKeyLifetime;
  // For how much longer than its lifetime a key is kept. With longest_hold_up(), a copy of a change
  // that comes while the key is known is not counted, however long it has to wait.
  std::chrono::milliseconds key_reserve{0};
  // How many are known at once.
  std::size_t max_keys = kDefaultMaxKeys;
  // The longest that a batch is worked on, lost connections included; up to kMaxStoreTimeout.
  std::chrono::milliseconds timeout{5'000};
};

// The longest that a change may be held up: where it waits for the store, where it is applied, and
// (redis) in the server, for up to `timeout` each.
constexpr std::chrono::milliseconds longest_hold_up(std::chrono::milliseconds timeout) {
  return 3 * timeout;
}

struct StoreStatus {
  std::string engine;      // "sqlite" or "redis"
  std::string location;    // path or address, without secrets
  std::string durability;  // one phrase: which crash acknowledged changes survive
  // Of a daemon's worker: why its latest change failed; empty: it did not.
  std::string change_failure = {};
};

struct ListQuery {
  std::string prefix;  // names that begin with it
  std::string after;   // names after it, in byte order; empty: from the first
  std::size_t limit = 0;
};

struct ListPage {
  struct Row {
    std::string name;
    std::int64_t value;
  };
  std::vector<Row> rows;  // sorted by name, bytewise
  // The name to continue after; empty: there are no more rows. A page may have fewer rows than its
  // limit, or none, and still be followed by others: counters that have ended leave gaps.
  std::string next;
};

class Store {
 public:
  virtual ~Store() = default;

  // Waits until `deadline` at the latest for the right to change the store, which one Store has at
  // a time, and then, if a failure has left the store in doubt, recovers it, until `recovered` at
  // the latest. The turn is not held on kOverloaded: another one has it, or (redis) `deadline` has
  // passed; nor on the errors of open_store(): the store cannot be recovered. If a process dies,
  // its turn is free again.
  virtual Result<void> take_turn(Deadline deadline, Deadline recovered) = 0;
  Result<void> take_turn(Deadline deadline) { return take_turn(deadline, deadline); }

  // Gives the turn back. REQUIRES: the turn is held
  virtual void yield_turn() = 0;

  // Applies the steps in order, as one unit as far as crashes go, and fills in every outcome.
  // Returns by `deadline`, except for the time that the system takes for a write or a sync that it
  // has begun, or for looking up a host's name. Steps on one counter see each other. Reports alone
  // change nothing, take no turn and see one snapshot. If the batch changes something, its outcomes
  // hold only after make_durable(). REQUIRES: the turn is held if any step changes something
  virtual void apply(std::span<Step> batch, Deadline deadline) = 0;

  // Makes durable what apply() has done to the batch; if that fails, its changes are kUnknown and
  // its reports kUnavailable. Takes as long as the disk does, and needs no turn: others may change
  // the store meanwhile. REQUIRES: the last call apart from yield_turn() was apply() of that batch
  virtual void make_durable(std::span<Step> batch) = 0;

  // Does the housekeeping that is due, under the turn, which it takes; most of the time there is
  // none. Called after everything else that is asked, so that nothing is left in doubt by a
  // failure. Never fails: the next call reports what goes wrong here. REQUIRES: the turn is not
  // held
  virtual void tidy() = 0;

  // One page of counters, one snapshot. Errors: as probe().
  virtual Result<ListPage> list(const ListQuery& query, Deadline deadline) = 0;

  // Whether the store answers now. kUnavailable, or kConfig if only another configuration can
  // help.
  virtual Result<void> probe(Deadline deadline) = 0;

  // What the latest calls have found; never waits.
  virtual StoreStatus status() const = 0;
};

// Opens the store of `options.url`. An sqlite store is opened and, after a crash, recovered before
// this returns; redis is connected to by the first call that needs it.
// kConfig: it cannot be used as it is, and the message says what to do; kUnavailable: try again.
Result<std::unique_ptr<Store>> open_store(const StoreOptions& options);

// Whether any step of `batch` changes something, so that it needs the turn.
bool needs_turn(std::span<const Step> batch);

// Applies the batch, gives the turn back, and only then makes the changes durable: others change
// the store during the sync. REQUIRES: the turn is held, and the batch changes something
void apply_in_turn(Store& store, std::span<Step> batch, Deadline deadline);

// Applies the batch and does all that belongs to it: the turn and make_durable(), if it changes
// something, and tidy().
void run_batch(Store& store, std::span<Step> batch, Deadline deadline);

// Gives every change of `batch` the outcome `error` if that is kUnknown or kStoreFull; all others
// get kUnavailable.
void fail_batch(std::span<Step> batch, const Error& error);

}  // namespace counterd
