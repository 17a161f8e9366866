// A connection to a Redis server, made when needed and made again when lost. Every wait has a
// deadline for the whole exchange, which hiredis's own calls do not have.
#pragma once

#include <hiredis/hiredis.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/deadline.h"
#include "common/error.h"
#include "common/store/store_url.h"

namespace counterd {

struct FreeRedisContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeRedisReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeRedisReply>;
using RedisArguments = std::vector<std::string>;

struct RedisScript {
  std::string_view source;
  std::string_view name;  // what the server calls it
};

std::string_view text_of(const redisReply& reply);
// Whether the server refused, with a text that begins like this.
bool is_error(const RedisReply& reply, std::string_view beginning = "");

// The first line of the file at `path`, without its end; empty if `path` is. kUnavailable: for
// now it cannot be opened, for lack of descriptors, say. kConfig: it is empty or cannot be read.
Result<std::string> read_password(const std::string& path);

class RedisConnection {
 public:
  // `password`: none is sent if it is empty; it is read from `password_file` again for each
  // connection. `require_durable`: a server that could lose what it has acknowledged is refused
  // (kConfig), as far as its settings show.
  RedisConnection(RedisLocation location, std::string password, std::string password_file,
                  bool require_durable)
      : location_(std::move(location)),
        password_file_(std::move(password_file)),
        password_(std::move(password)),
        require_durable_(require_durable) {}

  // Sends one command and returns its reply, which may be the server's refusal. An Error means that
  // there is no reply: the server cannot be reached, or the connection was lost, or was given up
  // because a late reply could not be told from the next one's (kUnavailable); or only another
  // configuration helps (kConfig).
  Result<RedisReply> command(const RedisArguments& arguments, Deadline deadline);

  // The same for a script, which is loaded if the server does not know it: first use, restart,
  // SCRIPT FLUSH. `arguments` are the script's own, without keys. `when_lost`: the code of the
  // Error where the call may have arrived but its answer has not.
  Result<RedisReply> run(const RedisScript& script, const RedisArguments& arguments,
                         Deadline deadline, Code when_lost = Code::kUnavailable);

  // Makes the connection if there is none, including all that the server is told and asked first.
  Result<void> connect(Deadline deadline);
  // Whether it was made.
  bool is_open() const { return context_ != nullptr; }
  // Whether nothing more is to be asked on it: the server has closed it since, so that what is sent
  // would be lost, and nobody could know; or more has come than was asked for, which would be taken
  // for the next answer.
  // REQUIRES: is_open()
  bool is_spent() const;

  // Asks the server for the settings that say what a crash can lose, as connect() does too.
  // kConfig: it is not as durable as it must be; the connection is given up.
  Result<void> read_durability(Deadline deadline);
  // For people: what they said the last time.
  const std::string& durability() const { return durability_; }

  Error unavailable(std::string_view why) const;
  std::string place() const;  // for people

 private:
  using Words = std::vector<std::string_view>;
  using Replies = std::vector<RedisReply>;

  Result<void> log_in(Deadline deadline);
  Result<std::optional<std::string>> read_setting(const RedisReply& reply) const;
  Result<RedisReply> leave_replica(Result<RedisReply> reply);
  Result<RedisReply> exchange(const Words& words, Deadline deadline,
                              Code when_lost = Code::kUnavailable);
  // Several at once, in the time that one takes: a reply for each.
  Result<Replies> exchange_all(std::span<const Words> commands, Deadline deadline);
  Result<void> send(std::span<const Words> commands, Deadline deadline, Code when_lost);
  Result<RedisReply> receive(Deadline deadline, Code when_lost);
  Error lose(Code code, std::string_view why);
  void read_password_again();

  const RedisLocation location_;
  const std::string password_file_;
  std::string password_;
  const bool require_durable_;
  std::string durability_ = "not connected yet";
  std::unique_ptr<redisContext, FreeRedisContext> context_;
};

}  // namespace counterd
