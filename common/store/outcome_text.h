// Outcomes as lines of text: what engines keep of them under idempotency keys (sqlite: those of
// groups, and of increments with a window), and what the script of redis.cc answers.
//
// A line has, separated by spaces: a letter for the code (those listed in outcome_text.cc; k is
// kOk, and r kOk and replayed), the value, the value before or "-", the times of creation, of the
// latest change and of the end, and for kOtherWindow the counter's window, if it has one.
#pragma once

#include <string>
#include <string_view>

#include "common/operation.h"

namespace counterd {

// Appends the outcome's line, with its line end. REQUIRES: its code has a letter
void append_outcome_line(std::string& text, const Outcome& outcome);

// Reads a line without its end. False: it is not one.
bool read_outcome_line(std::string_view line, Outcome& outcome);

}  // namespace counterd
