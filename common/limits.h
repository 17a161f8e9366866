// The limits on what clients send and on what a process holds, with their reasons. Nothing from
// outside grows beyond one of these.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace counterd {

// A counter's name: long enough for a path of identifiers, short enough for a key of any store.
inline constexpr std::size_t kMaxNameLength = 128;

// An idempotency key: holds a UUID, a hash, or a path of a few of them.
inline constexpr std::size_t kMaxKeyLength = 255;

// The name of a time zone: twice as long as any in the tz database.
inline constexpr std::size_t kMaxTimezoneLength = 64;

// The text of a window (identity_of() in calendar.h): up to "minute ", and a time zone. Of one that
// others have written into a store no more is read, since answers repeat it.
inline constexpr std::size_t kMaxWindowLength = 7 + kMaxTimezoneLength;

// How long a key is known unless --key-lifetime says otherwise: a day covers what people and cron
// jobs retry. And the longest that it may say.
inline constexpr std::chrono::hours kDefaultKeyLifetime{24};
inline constexpr std::chrono::hours kMaxKeyLifetime{24 * 365};

// Keys that a store knows at once, unless --max-keys says otherwise: about a gigabyte of an SQLite
// database, if they are of single operations.
inline constexpr std::size_t kDefaultMaxKeys = 10'000'000;

// The path of a Unix socket, in bytes: the longest that fits into its address (unix(7)).
inline constexpr std::size_t kMaxSocketPath = 107;

// Request target: holds every route with every parameter.
inline constexpr std::size_t kMaxTargetBytes = 2 * 1024;

// Request head: what browsers and proxies add stays below half of these.
inline constexpr std::size_t kMaxHeadBytes = 16 * 1024;
inline constexpr std::size_t kMaxHeadFields = 64;

// Request body: 1,000 operations as JSON, with room.
inline constexpr std::size_t kMaxBodyBytes = 1024 * 1024;

// Parameters of a request, in its query and in its body: more than any route has.
inline constexpr std::size_t kMaxParameters = 16;

// What the connections of one worker hold of requests and replies in transit: room for some 100 of
// the longest bodies. Beyond it connections whose client does not take its replies are cut off,
// then requests that are not whole yet; those longest in transit first.
inline constexpr std::size_t kMaxBufferedBytes = 128 * 1024 * 1024;

// Requests of one connection that are served at once; more wait in its input.
inline constexpr std::size_t kMaxPipelined = 64;

// Operations that one worker lets wait for the store; beyond that it answers 503 at once, because
// they would wait longer than clients do.
inline constexpr std::size_t kMaxWaitingOperations = 10'000;

// How many of these may be in large groups: ten clients that send such would else leave no room for
// anybody's increment.
inline constexpr std::size_t kMaxWaitingInLargeGroups = 9'000;

// Operations in one batch: bounds the time that the store's write lock is held, and the size of a
// Redis script call.
inline constexpr std::size_t kMaxBatchOperations = 1'000;

// Operations in one group, which is applied in one batch: what a client may ask for at once.
inline constexpr std::size_t kMaxGroupOperations = 1'000;
static_assert(kMaxGroupOperations <= kMaxBatchOperations);

// A line of what `counterctl batch` reads: no operation is that long.
inline constexpr std::size_t kMaxLineBytes = 4 * 1024;

// Rows in one page of a list, which is one snapshot held in memory.
inline constexpr std::size_t kDefaultListLimit = 100;
inline constexpr std::size_t kMaxListLimit = 1'000;
static_assert(kMaxListLimit <= kMaxGroupOperations,
              "counterctl changes all counters of a page at once");

// Rows that counterctl sorts by value, and so holds: below 30 MB, however long their names are.
inline constexpr std::int64_t kMaxSortedRows = 100'000;

// Worker processes of one daemon: more than any machine has use for.
inline constexpr int kMaxWorkers = 256;

// Addresses that one daemon listens on.
inline constexpr std::size_t kMaxListenAddresses = 16;

// Connections of one worker unless --max-connections says otherwise.
inline constexpr int kDefaultMaxConnections = 16'000;

// How long a daemon that ends waits for the requests in flight, unless --drain-timeout says
// otherwise.
inline constexpr std::chrono::seconds kDefaultDrainTimeout{10};

// A whole request, from its first byte.
inline constexpr std::chrono::seconds kReceiveTimeout{10};

// A reply, from its first unsent byte.
inline constexpr std::chrono::seconds kSendTimeout{10};

// A connection between requests: longer than Go (90 s) and Caddy (120 s) keep one by themselves. A
// request that is sent just as its connection ends is not counted, but its client cannot know that.
inline constexpr std::chrono::seconds kIdleTimeout{130};

// The rest of a refused request is read and dropped, so that the client sees the error: the wait
// for the next part of it, and all of it.
inline constexpr std::chrono::seconds kLingerTimeout{2};
inline constexpr std::chrono::seconds kLongestLinger{10};

// readyz answers within a second, whatever the store does.
inline constexpr std::chrono::milliseconds kReadyTimeout{800};

// The control socket: requests are a few words, replies list the workers. Those who wait for the
// daemon's end are counted apart.
inline constexpr std::size_t kMaxControlConnections = 16;
inline constexpr std::size_t kMaxControlWaiters = 256;
inline constexpr std::size_t kMaxControlRequestBytes = 4 * 1024;
inline constexpr std::size_t kMaxControlReplyBytes = 256 * 1024;
inline constexpr std::chrono::seconds kControlTimeout{5};

}  // namespace counterd
