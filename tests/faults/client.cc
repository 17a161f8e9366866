#include "tests/faults/client.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <thread>

#include "common/process.h"
#include "tests/faults/clock.h"

namespace counterd::faults {
namespace {

using Code = Answer::Code;

constexpr std::int64_t kMs = 1'000'000;

// How long a client waits. Less than the longest stop of a worker, so that some answers come too
// late for it.
constexpr std::chrono::milliseconds kPatience{1'500};

bool read_number(std::string_view text, std::int64_t& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc();
}

// Before it there may be what the store has told people.
std::string_view last_line(std::string_view output) {
  if (output.ends_with('\n')) output.remove_suffix(1);
  return output.substr(output.rfind('\n') + 1);
}

// The number of the member `name`; 0 where it is null.
bool read_member(std::string_view json, std::string_view name, std::int64_t& value) {
  const std::size_t at = json.find(name);
  if (at == json.npos) return false;
  const std::string_view rest = json.substr(at + name.size());
  if (rest.starts_with("null")) return true;
  return read_number(rest, value);
}

std::string write_request(const Request& what, bool quoted) {
  const std::string target = "/v1/counters/" + what.name;
  if (what.kind == Kind::kReport) return request("GET", target);
  const bool increment = what.kind == Kind::kIncrement;
  const std::string mark = quoted ? "\"" : "";
  return request(
      "POST", target + (increment ? "/increment?by=" : "/reset?to=") + std::to_string(what.operand),
      {}, "Idempotency-Key: " + mark + what.key + mark + "\r\n");
}

Answer read_reply(const Request& what, const Reply& reply) {
  Answer answer;
  answer.text = std::to_string(reply.status) + " " + reply.body;
  answer.tells_replays = true;
  answer.replayed = reply.fields.contains("idempotency-replayed");
  if (reply.status == 200) {
    const bool complete =
        read_member(reply.body, "\"value\":", answer.value) &&
        (what.kind != Kind::kReset || read_member(reply.body, "\"previous\":", answer.previous));
    answer.code = complete ? Code::kDone : Code::kWrong;
  } else if (reply.status == 404 && what.kind == Kind::kReport) {
    answer.code = Code::kDone;
  } else if (reply.status == 503 || reply.status == 507) {
    const bool unknown = reply.body.find("unknown-outcome") != std::string::npos;
    answer.code = unknown ? Code::kUnknown : Code::kNothing;
  } else {
    answer.code = Code::kWrong;
  }
  return answer;
}

}  // namespace

Answer HttpAsker::ask(const Request& what) {
  if (!socket_) {
    socket_.emplace(endpoints_[static_cast<std::size_t>(
        random_.below(static_cast<std::int64_t>(endpoints_.size())))]);
  }
  if (!socket_->is_open()) {
    socket_.reset();
    return {.code = Code::kNothing, .text = "no connection"};
  }
  try {
    // Both forms of a key are the same key.
    const bool sent = socket_->send(write_request(what, random_.one_in(4)));
    const std::optional<Reply> reply = sent ? socket_->receive(kPatience) : std::nullopt;
    if (!reply || reply->closes()) socket_.reset();
    if (reply) return read_reply(what, *reply);
  } catch (const std::exception& exception) {
    socket_.reset();
    return {.code = Code::kWrong, .text = exception.what()};
  }
  return {.code = Code::kUnknown, .text = "no answer"};
}

Answer ToolAsker::ask(const Request& what) {
  const std::lock_guard gate(gate_);
  std::vector<std::string> words = command_;
  if (what.kind == Kind::kReport) {
    words.insert(words.end(), {"report", what.name});
  } else {
    words.insert(words.end(), {"increment", what.name, "--by=" + std::to_string(what.operand),
                               "--key", what.key});
  }
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return {.code = Code::kNothing};
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  const pid_t pid = start(words, input.get());
  input.reset();
  if (pid == 0) return {.code = Code::kNothing};
  std::string text;
  std::array<char, 256> portion{};
  for (ssize_t size = 0; (size = read(output.get(), portion.data(), portion.size())) != 0;) {
    if (size > 0) text.append(portion.data(), static_cast<std::size_t>(size));
  }
  siginfo_t ended{};
  while (waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
  {
    const std::lock_guard lock(pid_mutex_);
    waitpid(pid, nullptr, 0);
    pid_ = 0;
  }
  Answer answer{.text = "exit status " + std::to_string(ended.si_status) + " " + text};
  if (ended.si_code != CLD_EXITED || ended.si_status == 75) return answer;
  if (ended.si_status == 0) {
    answer.code = read_number(last_line(text), answer.value) ? Code::kDone : Code::kWrong;
  } else if (ended.si_status == 2 && what.kind == Kind::kReport) {
    answer.code = Code::kDone;
  } else {
    answer.code = ended.si_status == 69 ? Code::kNothing : Code::kWrong;
  }
  return answer;
}

// The process; 0: it could not be started.
pid_t ToolAsker::start(std::vector<std::string>& words, int output) {
  std::vector<char*> argv = argv_of(words);
  std::vector<char*> environment = argv_of(environment_);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  const std::lock_guard lock(pid_mutex_);
  const int failure =
      posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) pid_ = 0;
  return pid_;
}

bool ToolAsker::kill() {
  const std::lock_guard lock(pid_mutex_);
  return pid_ != 0 && ::kill(pid_, SIGKILL) == 0;
}

std::unique_lock<std::mutex> ToolAsker::forbid() {
  std::unique_lock gate(gate_, std::defer_lock);
  while (!gate.try_lock()) {
    kill();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return gate;
}

void Client::run(const std::atomic<bool>& more, const std::atomic<bool>& give_up) {
  while (more) {
    ask_something();
    if (pause_.count() > 0) std::this_thread::sleep_for(pause_);
  }
  while (!pending_.empty() && !give_up) {
    Pending pending = std::move(pending_.back());
    pending_.pop_back();
    ask_for(std::move(pending), false);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Client::ask_something() {
  const std::int64_t now = now_ns();
  const auto due = std::find_if(pending_.begin(), pending_.end(),
                                [&](const Pending& each) { return each.due <= now; });
  if (due != pending_.end()) {
    Pending pending = std::move(*due);
    *due = std::move(pending_.back());
    pending_.pop_back();
    return ask_for(std::move(pending), false);
  }
  const std::int64_t choice = random_.below(100);
  if (choice < 20) return report();
  if (choice < 23 && !known_.empty()) return ask_again_for_known();
  ask_for({.request = some_change(), .begin = 0, .due = 0}, true);
}

Request Client::some_change() {
  Request change;
  change.counter = static_cast<int>(random_.below(counters_.all()));
  change.name = counters_.name(change.counter);
  std::string number = std::to_string(++keys_);
  number.insert(0, 9 - std::min<std::size_t>(9, number.size()), '0');  // ordered by time
  change.key = name_ + "-" + number;
  if (change.counter >= counters_.plain && asker_.resets() && random_.one_in(40)) {
    change.kind = Kind::kReset;
    change.operand = ++resets_ * kEpoch;
  } else {
    change.kind = Kind::kIncrement;
    change.operand = random_.one_in(3) ? kDown : kUp;
  }
  return change;
}

void Client::ask_for(Pending pending, bool first) {
  if (first) pending.begin = now_ns();
  const Answer answer = asker_.ask(pending.request);
  const std::int64_t end = now_ns();
  if (answer.code == Code::kDone) {
    ++tally_.operations;
    tally_.replays += answer.replayed ? 1 : 0;
    if (answer.replayed && !pending.unknown) {
      note_wrong(pending.request, {.text = "a replay of what had not been applied"});
    }
    events_.push_back({pending.begin, end, pending.request.operand, answer.value, answer.previous,
                       pending.request.counter, pending.request.kind});
    if (known_.size() < 100) {
      known_.emplace_back(pending.request, events_.back());
    } else if (random_.one_in(20)) {
      known_[static_cast<std::size_t>(random_.below(100))] = {pending.request, events_.back()};
    }
    return;
  }
  if (answer.code == Code::kWrong) return note_wrong(pending.request, answer);
  if (answer.code == Code::kNothing) {
    ++tally_.nothing;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    // Half of what was not applied is never asked for again, and must never be counted.
    if (!pending.unknown && random_.one_in(2)) return;
  } else {
    tally_.unknown += pending.unknown ? 0 : 1;
    pending.unknown = true;
  }
  // At once, while the first request may still be under way, or later.
  pending.due = random_.one_in(2) ? 0 : end + random_.between(1, 2'000) * kMs;
  pending_.push_back(std::move(pending));
}

// What is known is answered as it was, and another operation under its key is refused.
void Client::ask_again_for_known() {
  const auto& [request, event] =
      known_[static_cast<std::size_t>(random_.below(static_cast<std::int64_t>(known_.size())))];
  Request again = request;
  const bool other = asker_.resets() && random_.one_in(4);
  if (other) again.operand += again.kind == Kind::kIncrement ? 1'000'000 : 1;
  const Answer answer = asker_.ask(again);
  if (answer.code == Code::kUnknown || answer.code == Code::kNothing) return;
  ++tally_.operations;
  ++tally_.checks;
  if (other) {
    if (!answer.text.starts_with("422 ")) note_wrong(again, answer);
    return;
  }
  const bool same = answer.code == Code::kDone && answer.value == event.value &&
                    answer.previous == event.previous && (answer.replayed || !answer.tells_replays);
  if (!same) note_wrong(again, answer);
}

void Client::report() {
  Request report;
  report.counter = static_cast<int>(random_.below(counters_.all()));
  report.name = counters_.name(report.counter);
  const std::int64_t begin = now_ns();
  const Answer answer = asker_.ask(report);
  if (answer.code == Code::kWrong) note_wrong(report, answer);
  if (answer.code != Code::kDone) return;
  ++tally_.operations;
  events_.push_back({begin, now_ns(), 0, answer.value, 0, report.counter, Kind::kReport});
}

void Client::note_wrong(const Request& request, const Answer& answer) {
  wrong_.push_back(request.name + " " + request.key + " " + std::to_string(request.operand) +
                   " was answered: " + answer.text);
}

}  // namespace counterd::faults
