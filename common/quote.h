// What others have written, in messages for people: no input forges a line in a log or on a
// terminal.
#pragma once

#include <string>
#include <string_view>

namespace counterd {

// `text` in quotes for an error message: control characters and bytes beyond ASCII escaped, cut
// after 64 characters, so that hostile input cannot forge lines in a log or on a terminal.
std::string quote_for_people(std::string_view text);

// The same for what may be, or hold, a URL with a password in it, which is left out: messages go to
// logs that others may read.
std::string quote_without_secrets(std::string_view url);

// `text`, which others chose, with its control characters escaped, for the same reason, except
// those in `kept`. Those of ISO 6429 beyond ASCII are escaped too (U+0080 to U+009F in UTF-8):
// terminals obey them.
std::string escape_controls(std::string_view text, std::string_view kept = "");

// One word for a shell, whatever it contains: for the commands that messages name.
std::string quote_for_shell(std::string_view word);

// The same, without the quotes where a shell takes the word as it is.
std::string word_for_shell(std::string_view word);

}  // namespace counterd
