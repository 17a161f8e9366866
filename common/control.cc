#include "common/control.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/json.h"
#include "common/number.h"
#include "common/quote.h"

namespace counterd {

using Json = nlohmann::json;

namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 5> kStates = {"waiting", "starting", "ready", "draining",
                                                     "leaving"};
constexpr std::array<std::string_view, 3> kCommands = {"workers", "scale", "stop"};

// The enumerator whose name is `name`; nothing: none has it.
template <class Enum, std::size_t size>
std::optional<Enum> find_name(const std::array<std::string_view, size>& names,
                              std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

void to_json(Json& json, WorkerState state) {
  json = name_of(state);
}
void from_json(const Json& json, WorkerState& state) {
  const auto found = find_name<WorkerState>(kStates, json.get<std::string>());
  if (!found) throw Json::type_error::create(302, "unknown state", &json);
  state = *found;
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WorkerInfo, pid, slot, state, since_ms)
// A daemon of another version may say less.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(DaemonInfo, pid, ready, stopping, settings, wanted,
                                                workers)

namespace {

std::string one_line(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string_view name_of(WorkerState state) {
  return kStates.at(static_cast<std::size_t>(state));
}

std::string encode(const ControlRequest& request) {
  Json document = {{"command", kCommands.at(static_cast<std::size_t>(request.command))}};
  if (request.workers != 0) document["workers"] = request.workers;
  return one_line(document);
}

std::string encode(const DaemonInfo& info) {
  return one_line(Json(info));
}

std::string encode(const Error& error) {
  return one_line({{"error", {{"code", problem_type(error.code)}, {"message", error.message}}}});
}

Result<ControlRequest> decode_control_request(std::string_view line) {
  Result<FlatObject> members = parse_flat_object(line);
  if (!members) return members.error();
  std::optional<ControlCommand> command;
  ControlRequest request{};
  for (const auto& [name, value] : *members) {
    if (name == "command") {
      command = find_name<ControlCommand>(kCommands, value);
      if (!command) {
        return Error{Code::kBadParameter, "unknown command " + quote_for_people(value)};
      }
    } else if (name == "workers") {
      const Result<int> workers = parse_workers(value, "number of workers");
      if (!workers) return workers.error();
      request.workers = *workers;
    } else {
      return Error{Code::kBadParameter, "unknown parameter " + quote_for_people(name)};
    }
  }
  if (!command) return Error{Code::kBadParameter, "the command is missing"};
  request.command = *command;
  if (request.command == ControlCommand::kScale && request.workers == 0) {
    return Error{Code::kBadParameter, "scale needs the number of workers"};
  }
  return request;
}

Result<DaemonInfo> decode_control_reply(std::string_view line) {
  const Error senseless{Code::kUnavailable, "the daemon's answer makes no sense"};
  const Json document = Json::parse(line.begin(), line.end(), nullptr, false);
  try {
    if (const auto error = document.find("error"); error != document.end()) {
      const auto code = code_of_problem_type(error->at("code").get<std::string>());
      return Error{code.value_or(Code::kUnavailable),
                   escape_controls(error->at("message").get<std::string>())};
    }
    auto info = document.get<DaemonInfo>();
    if (info.pid == 0) return senseless;
    return info;
  } catch (const Json::exception&) {
    return senseless;
  }
}

}  // namespace counterd
