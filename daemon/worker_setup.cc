#include "daemon/worker_setup.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <vector>

// For the setup's durations.
template <>
struct nlohmann::adl_serializer<std::chrono::milliseconds> {
  static void to_json(json& json, const std::chrono::milliseconds& duration) {
    json = duration.count();
  }
  static void from_json(const json& json, std::chrono::milliseconds& duration) {
    duration = std::chrono::milliseconds(json.get<std::int64_t>());
  }
};

namespace counterd {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StoreOptions, url, sync, create, redis_prefix,
                                   redis_password_file, require_durable, key_lifetime, key_reserve,
                                   max_keys, timeout, empty_wal)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SenderRules, hosts, any_address)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ApiOptions, senders, allow_get_writes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WorkerSetup, store, api, max_connections, drain_timeout)

namespace {

// None of these compiles once a field is added, which must then be named above too: workers would
// start with its default.
[[maybe_unused]] void all_fields_are_named(const StoreOptions& options) {
  [[maybe_unused]] const auto& [a, b, c, d, e, f, g, h, i, j, k] = options;
}
[[maybe_unused]] void all_fields_are_named(const SenderRules& rules) {
  [[maybe_unused]] const auto& [a, b] = rules;
}
[[maybe_unused]] void all_fields_are_named(const ApiOptions& options) {
  [[maybe_unused]] const auto& [a, b] = options;
}
[[maybe_unused]] void all_fields_are_named(const WorkerSetup& setup) {
  [[maybe_unused]] const auto& [a, b, c, d] = setup;
}

}  // namespace

Result<UniqueFd> write_setup(const WorkerSetup& setup) {
  const std::vector<std::uint8_t> bytes = nlohmann::json::to_cbor(nlohmann::json(setup));
  UniqueFd file(memfd_create("counterd-setup", MFD_CLOEXEC));
  if (!file ||
      write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return system_error(Code::kIo, "cannot write the workers' setup", errno);
  }
  return file;
}

Result<WorkerSetup> read_setup(const UniqueFd& file) {
  struct stat found {};
  fstat(file.get(), &found);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(found.st_size));
  const ssize_t size = pread(file.get(), bytes.data(), bytes.size(), 0);
  bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  try {
    return nlohmann::json::from_cbor(bytes).get<WorkerSetup>();
  } catch (const nlohmann::json::exception&) {
    return Error{Code::kUsage,
                 "worker is how counterd starts its own workers; start a daemon without it, and "
                 "set the number of its workers by --workers or counterctl scale"};
  }
}

}  // namespace counterd
