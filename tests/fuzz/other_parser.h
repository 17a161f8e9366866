// What a parser of other people (Debian's libhttp-parser) makes of the same bytes.
#pragma once

#include <string_view>

namespace counterd {

// Whether it accepts `head`, and says that the message ends after `body_size` more bytes.
bool reads_as_request(std::string_view head, std::size_t body_size);
bool reads_as_response(std::string_view head, std::size_t body_size);

}  // namespace counterd
