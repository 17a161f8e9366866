// What a command says if SIGINT, SIGTERM or SIGHUP ends it: how to go on after what it has done.
#pragma once

#include <string>

namespace counterd {

// From now on a signal of these, unless it is ignored, writes `words` to standard error, if that
// takes them at once, and then ends the process as if nobody had caught it.
void set_last_words(std::string words);

}  // namespace counterd
