#include "daemon/settings.h"

#include "common/ascii.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/quote.h"
#include "common/store/store_url.h"

namespace counterd {
namespace {

Values get_none(const DaemonOptions&) {
  return {};
}

std::string text_of(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + "ms";
}

std::string text_of(bool flag) {
  return flag ? "true" : "false";
}

template <class Number>
Result<void> set_number(Number& number, const std::string& value, const char* what,
                        std::int64_t least, std::int64_t most) {
  const Result<std::int64_t> parsed = parse_int64_within(value, what, least, most);
  if (!parsed) return parsed.error();
  number = static_cast<Number>(*parsed);
  return {};
}

Result<void> set_workers(DaemonOptions& options, const std::string& value) {
  return set_number(options.workers, value, "number of workers", 1, kMaxWorkers);
}

Result<void> set_listen(DaemonOptions& options, const std::string& value) {
  Result<Endpoint> endpoint = parse_endpoint(value);
  if (!endpoint) return endpoint.error();
  if (options.listen.size() == kMaxListenAddresses) {
    return Error{Code::kConfig, "more than " + std::to_string(kMaxListenAddresses) + " addresses"};
  }
  options.listen.push_back(std::move(*endpoint));
  return {};
}

Values get_listen(const DaemonOptions& options) {
  Values values;
  for (const Endpoint& endpoint : options.listen) values.push_back(to_string(endpoint));
  return values;
}

Result<void> set_store(DaemonOptions& options, const std::string& value) {
  if (const auto location = parse_store_url(value); !location) return location.error();
  options.store.url = value;
  return {};
}

Result<void> set_sync(DaemonOptions& options, const std::string& value) {
  const Result<Sync> sync = parse_sync(value);
  if (!sync) return sync.error();
  options.store.sync = *sync;
  return {};
}

Result<void> set_redis_prefix(DaemonOptions& options, const std::string& value) {
  if (const Result<void> checked = check_redis_prefix(value); !checked) return checked.error();
  options.store.redis_prefix = value;
  return {};
}

Result<void> set_redis_password_file(DaemonOptions& options, const std::string& value) {
  if (value.empty()) return Error{Code::kConfig, "the path is missing"};
  options.store.redis_password_file = value;
  return {};
}

Values get_redis_password_file(const DaemonOptions& options) {
  const std::string& file = options.store.redis_password_file;
  return file.empty() ? Values{} : Values{file};
}

Result<void> set_flag(bool& flag, const std::string& value) {
  const bool on = value == "true" || value == "1" || value == "yes" || value == "on";
  const bool off = value == "false" || value == "0" || value == "no" || value == "off";
  if (!on && !off) {
    return Error{Code::kConfig, quote_for_people(value) + " is neither true nor false"};
  }
  flag = on;
  return {};
}

Result<void> set_require_durable(DaemonOptions& options, const std::string& value) {
  return set_flag(options.store.require_durable, value);
}

Result<void> set_allow_get_writes(DaemonOptions& options, const std::string& value) {
  return set_flag(options.allow_get_writes, value);
}

// Patterns, as *.example.org and .example.org are elsewhere, would allow nothing.
Result<void> set_allow_host(DaemonOptions& options, const std::string& value) {
  if (value.empty() || value.front() == '.' || value.find_first_of(":/ ,*") != std::string::npos) {
    return Error{Code::kConfig, quote_for_people(value) +
                                    " is not a host name without a port; give each name that "
                                    "clients use, as there are no patterns"};
  }
  options.allowed_hosts.push_back(lower_case(value));
  return {};
}

Result<void> set_max_connections(DaemonOptions& options, const std::string& value) {
  return set_number(options.max_connections, value, "number of connections", 1, 1'000'000);
}

Result<void> set_store_timeout(DaemonOptions& options, const std::string& value) {
  const auto duration = parse_duration(value, "timeout");
  if (!duration) return duration.error();
  if (*duration > kMaxStoreTimeout) {
    return Error{Code::kConfig,
                 "the longest store timeout is 15m, a quarter of the time for "
                 "which Redis knows a batch"};
  }
  options.store.timeout = *duration;
  return {};
}

Result<void> set_key_lifetime(DaemonOptions& options, const std::string& value) {
  const auto duration = parse_duration(value, "lifetime");
  if (!duration) return duration.error();
  options.store.key_lifetime = *duration;
  return {};
}

Result<void> set_max_keys(DaemonOptions& options, const std::string& value) {
  return set_number(options.store.max_keys, value, "number of keys", 0, 1'000'000'000);
}

Result<void> set_drain_timeout(DaemonOptions& options, const std::string& value) {
  const auto duration = parse_duration(value, "timeout");
  if (!duration) return duration.error();
  options.drain_timeout = *duration;
  return {};
}

Result<void> set_ready_fd(DaemonOptions& options, const std::string& value) {
  // Lower ones are standard input, output and error.
  return set_number(options.ready_fd, value, "descriptor", 3, 65'535);
}

}  // namespace

const std::vector<Setting>& settings() {
  static const std::vector<Setting> table = {
      {"workers", "N",
       "worker processes, 1 to 256 (default: the CPUs; on sqlite half of them, at most 2)",
       set_workers, get_none},
      {"listen", "ADDRESS",
       "HOST:PORT, [IPv6]:PORT or unix:PATH; may be repeated (default: 127.0.0.1:4747)", set_listen,
       get_listen, true},
      {"store", "URL", std::string(kStoreForms) + " (default: sqlite: in the state directory)",
       set_store, [](const DaemonOptions& its) { return Values{its.store.url}; }},
      {"sync", "full|normal",
       "sqlite: sync every change to the disk, or survive process crashes only (default: full)",
       set_sync, [](const DaemonOptions& its) { return Values{to_string(its.store.sync)}; }},
      {"redis-prefix", "TEXT", "redis: begins every key (default: counterd:)", set_redis_prefix,
       [](const DaemonOptions& its) { return Values{its.store.redis_prefix}; }},
      {"redis-password-file", "FILE", "redis: file whose first line is the password",
       set_redis_password_file, get_redis_password_file},
      {"require-durable", "", "refuse a store that could lose an acknowledged change",
       set_require_durable,
       [](const DaemonOptions& its) { return Values{text_of(its.store.require_durable)}; }},
      {"store-timeout", "TIME",
       "longest wait for the turn, and for the store, at most 15m (default: 5s)", set_store_timeout,
       [](const DaemonOptions& its) { return Values{text_of(its.store.timeout)}; }},
      {"key-lifetime", "TIME", "how long idempotency keys are known, at most 365d (default: 24h)",
       set_key_lifetime,
       [](const DaemonOptions& its) { return Values{text_of(its.store.key_lifetime)}; }},
      {"max-keys", "N", "idempotency keys that are known at once (default: 10000000)", set_max_keys,
       [](const DaemonOptions& its) { return Values{std::to_string(its.store.max_keys)}; }},
      {"drain-timeout", "TIME", "longest wait for requests at the end (default: 10s)",
       set_drain_timeout,
       [](const DaemonOptions& its) { return Values{text_of(its.drain_timeout)}; }},
      {"max-connections", "N", "connections of each worker (default: 16000)", set_max_connections,
       [](const DaemonOptions& its) { return Values{std::to_string(its.max_connections)}; }},
      {"allow-host", "NAME", "a name that the Host of requests may have; may be repeated",
       set_allow_host, [](const DaemonOptions& its) { return its.allowed_hosts; }, true},
      {"allow-get-writes", "", "let GET /increment and GET /reset change the default counter",
       set_allow_get_writes,
       [](const DaemonOptions& its) { return Values{text_of(its.allow_get_writes)}; }},
      {"ready-fd", "FD", "descriptor that gets a line when the daemon is ready", set_ready_fd,
       get_none},
  };
  return table;
}

}  // namespace counterd
