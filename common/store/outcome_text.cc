#include "common/store/outcome_text.h"

#include <algorithm>
#include <array>

#include "common/ascii.h"
#include "common/limits.h"
#include "common/number.h"

namespace counterd {
namespace {

struct Letter {
  char letter;
  Code code;
};
constexpr std::array kLetters = {Letter{'k', Code::kOk},          Letter{'m', Code::kMissing},
                                 Letter{'o', Code::kOutOfRange},  Letter{'b', Code::kBeyondBound},
                                 Letter{'w', Code::kOtherWindow}, Letter{'c', Code::kClocksApart},
                                 Letter{'x', Code::kKeyReused},   Letter{'f', Code::kTooManyKeys},
                                 Letter{'v', Code::kUnavailable}, Letter{'r', Code::kOk}};

}  // namespace

void append_outcome_line(std::string& text, const Outcome& outcome) {
  text += std::ranges::find(kLetters, outcome.code, &Letter::code)->letter;
  text.append(" ").append(std::to_string(outcome.value));
  text.append(" ").append(outcome.previous ? std::to_string(*outcome.previous) : "-");
  text.append(" ").append(std::to_string(outcome.created_at_ms));
  text.append(" ").append(std::to_string(outcome.updated_at_ms));
  text.append(" ").append(std::to_string(outcome.expires_at_ms));
  if (!outcome.window.empty()) text.append(" ").append(outcome.window);
  text += '\n';
}

bool read_outcome_line(std::string_view line, Outcome& outcome) {
  const std::string_view letter = take_until(line, ' ');
  const auto found = std::ranges::find_if(
      kLetters, [&](const Letter& known) { return letter == std::string_view(&known.letter, 1); });
  if (found == kLetters.end()) return false;
  outcome.code = found->code;
  outcome.replayed = letter == "r";
  if (!read_lenient(take_until(line, ' '), outcome.value)) return false;
  const std::string_view previous = take_until(line, ' ');
  if (previous != "-" && !read_lenient(previous, outcome.previous.emplace())) return false;
  if (!read_lenient(take_until(line, ' '), outcome.created_at_ms)) return false;
  if (!read_lenient(take_until(line, ' '), outcome.updated_at_ms)) return false;
  if (line.empty()) return true;  // what was kept before there were ends has none
  if (!read_lenient(take_until(line, ' '), outcome.expires_at_ms)) return false;
  outcome.window = line.substr(0, kMaxWindowLength);
  return true;
}

}  // namespace counterd
