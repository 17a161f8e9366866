// Drives real daemons from a seed while faults happen, and judges what clients were told. See
// history.h for what is checked, nemesis.h for what happens.
//
// Chance follows from the seed; the scheduling of processes does not, so that a run with the same
// seed is like another, not the same.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <sstream>
#include <thread>

#include "tests/faults/clock.h"
#include "tests/faults/nemesis.h"

namespace counterd::faults {
namespace {

using std::chrono::steady_clock;

constexpr Counters kCounters{.plain = 6, .resettable = 3};

struct Options {
  std::uint64_t seed = 0;
  double minutes = 1;
  int clients = 16;
  int patience_s = 60;  // the longest to go on asking again at the end for what is unknown
  std::string engine = "sqlite";
  std::vector<std::string> only;
  std::string counterd = COUNTERD_BINARY;
};

// The memory that the preloaded library of every process sees.
class SharedControl {
 public:
  explicit SharedControl(const std::string& path) {
    const UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    void* memory = MAP_FAILED;
    if (file && ftruncate(file.get(), sizeof(DiskControl)) == 0) {
      memory =
          mmap(nullptr, sizeof(DiskControl), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    }
    if (memory == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    control_ = static_cast<DiskControl*>(memory);
  }
  SharedControl(const SharedControl&) = delete;
  SharedControl& operator=(const SharedControl&) = delete;
  ~SharedControl() { munmap(control_, sizeof *control_); }

  DiskControl* get() const { return control_; }

 private:
  DiskControl* control_ = nullptr;
};

void set_text(char (&field)[256], const std::string& text) {
  if (text.size() >= sizeof field) throw std::runtime_error("too long a path: " + text);
  text.copy(field, text.size());
}

class Run {
 public:
  explicit Run(const Options& options);

  // The exit status: 0; 1: something was lost, doubled or wrong; 3: some changes were not answered
  // for so long that nothing can be judged.
  int run();

 private:
  DaemonProgram program() const;
  std::vector<std::string> daemon_arguments() const;
  std::unique_ptr<Asker> http_asker(int number) const;
  void set_up_sqlite();
  void set_up_redis();
  void ask_while_faults_happen();
  Result<std::int64_t> value_of(int counter) const;
  int judge();

  const Options options_;
  const TemporaryDirectory directory_;
  const SharedControl control_;
  std::unique_ptr<RedisServer> redis_;
  std::unique_ptr<Proxy> redis_proxy_;
  std::string store_;
  std::unique_ptr<PowerSupply> power_;
  std::unique_ptr<DaemonProcess> first_, second_;
  std::unique_ptr<Proxy> client_proxy_;
  std::unique_ptr<ToolAsker> tool_;
  std::unique_ptr<Nemesis> nemesis_;
  std::vector<std::unique_ptr<Asker>> askers_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::atomic<int> resets_ = 0;
};

Run::Run(const Options& options) : options_(options), control_(directory_ / "control") {
  if (options_.engine == "redis") {
    set_up_redis();
  } else {
    set_up_sqlite();
  }
  first_ = std::make_unique<DaemonProcess>(daemon_arguments(), program());
  second_ = std::make_unique<DaemonProcess>(daemon_arguments(), program());
  client_proxy_ =
      std::make_unique<Proxy>(Endpoint{"127.0.0.1", 0, ""}, first_->endpoint(), options_.seed);
  tool_ = std::make_unique<ToolAsker>(
      std::vector<std::string>{COUNTERCTL_BINARY, "--timeout", "2s", "--store", store_},
      program().environment);
  World world;
  world.first = first_.get();
  world.second = second_.get();
  world.tool = tool_.get();
  world.client_proxy = client_proxy_.get();
  world.disk = control_.get();
  world.power = power_.get();
  world.redis = redis_.get();
  world.redis_proxy = redis_proxy_.get();
  nemesis_ = std::make_unique<Nemesis>(world, Random(options_.seed, 0), options_.only);
}

DaemonProgram Run::program() const {
  return {options_.counterd,
          {"LD_PRELOAD=" FAULTS_LIBRARY,
           std::string(kControlVariable) + "=" + (directory_ / "control")}};
}

std::vector<std::string> Run::daemon_arguments() const {
  return {"--workers", "3", "--store", store_, "--store-timeout", "2s", "--drain-timeout", "2s"};
}

void Run::set_up_sqlite() {
  const std::string database = directory_ / "counters.db";
  store_ = "sqlite:" + database;
  set_text(control_.get()->database, database);
  set_text(control_.get()->journal, directory_ / "journal");
  // Makes the database.
  DaemonProcess(daemon_arguments(), program()).stop();
  const UniqueFd journal(
      open((directory_ / "journal").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  power_ = std::make_unique<PowerSupply>(database, directory_ / "journal");
  control_.get()->journaling = 1;
}

void Run::set_up_redis() {
  redis_ = std::make_unique<RedisServer>(
      std::vector<std::string>{"--appendonly", "yes", "--appendfsync", "always"});
  Endpoint upstream;
  upstream.path = redis_->socket_path();
  Endpoint address;
  address.path = directory_ / "redis.sock";
  redis_proxy_ = std::make_unique<Proxy>(address, upstream, options_.seed + 1);
  store_ = "redis+unix://" + address.path;
}

std::unique_ptr<Asker> Run::http_asker(int number) const {
  return std::make_unique<HttpAsker>(
      std::vector<Endpoint>{first_->endpoint(), first_->endpoint(), second_->endpoint(),
                            client_proxy_->endpoint()},
      Random(options_.seed, 1'000 + static_cast<std::uint64_t>(number)));
}

void Run::ask_while_faults_happen() {
  std::atomic<bool> more = true;
  std::atomic<bool> give_up = false;
  for (int i = 0; i <= options_.clients; ++i) {
    const bool by_tool = i == options_.clients;
    if (!by_tool) askers_.push_back(http_asker(i));
    clients_.push_back(
        std::make_unique<Client>("client" + std::to_string(i), by_tool ? *tool_ : *askers_.back(),
                                 Random(options_.seed, 1 + static_cast<std::uint64_t>(i)),
                                 kCounters, resets_, std::chrono::milliseconds(by_tool ? 20 : 0)));
  }
  std::vector<std::thread> threads;
  std::atomic<std::size_t> running = clients_.size();
  for (const auto& client : clients_) {
    threads.emplace_back([&] {
      client->run(more, give_up);
      --running;
    });
  }
  std::exception_ptr failure;
  try {
    const auto end =
        steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(
                                  std::chrono::duration<double, std::ratio<60>>(options_.minutes));
    while (steady_clock::now() < end) nemesis_->act();
    nemesis_->heal();
    more = false;
    const auto last = steady_clock::now() + std::chrono::seconds(options_.patience_s);
    while (running > 0 && steady_clock::now() < last) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (running == 0) nemesis_->end_with_a_crash();
  } catch (...) {
    failure = std::current_exception();
  }
  more = false;
  give_up = true;
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

// An Error: it cannot be reported, although everything runs.
Result<std::int64_t> Run::value_of(int counter) const {
  HttpSocket client(first_->endpoint());
  const auto reply = client.ask(
      request("GET", "/v1/counters/" + kCounters.name(counter), {}, "Accept: text/plain\r\n"));
  if (reply && reply->status == 404) return 0;
  if (!reply) return Error{Code::kUnavailable, "no answer"};
  if (reply->status != 200) return Error{Code::kUnavailable, reply->body};
  return std::stoll(reply->body);
}

int Run::judge() {
  Verdict verdict;
  Tally sum;
  std::size_t unresolved = 0;
  std::vector<std::vector<Event>> events(static_cast<std::size_t>(kCounters.all()));
  for (const auto& client : clients_) {
    for (const Event& event : client->events()) {
      events[static_cast<std::size_t>(event.counter)].push_back(event);
    }
    verdict.wrong += static_cast<std::int64_t>(client->wrong().size());
    for (const std::string& wrong : client->wrong()) {
      if (verdict.findings.size() < 10) verdict.findings.push_back(wrong);
    }
    unresolved += client->unresolved();
    const Tally& tally = client->tally();
    sum.operations += tally.operations;
    sum.unknown += tally.unknown;
    sum.nothing += tally.nothing;
    sum.replays += tally.replays;
    sum.checks += tally.checks;
  }
  for (int counter = 0; counter < kCounters.all(); ++counter) {
    const std::string name = kCounters.name(counter);
    const Result<std::int64_t> last = value_of(counter);
    if (!last) {
      ++verdict.lost;
      verdict.findings.push_back(name + " cannot be reported: " + last.error().message);
      continue;
    }
    check_counter(name, std::move(events[static_cast<std::size_t>(counter)]), *last, verdict);
  }
  std::int64_t faults = 0;
  std::string kinds;
  for (const auto& [name, count] : nemesis_->faults()) {
    faults += count;
    kinds += (kinds.empty() ? "" : ", ") + name + " " + std::to_string(count);
  }
  std::cout << "operations " << sum.operations << " (unknown and asked for again " << sum.unknown
            << ", of which already applied " << sum.replays << "; not applied " << sum.nothing
            << "; known and asked for again " << sum.checks << ")\n"
            << "faults " << faults << (kinds.empty() ? "" : ": ") << kinds << "\n";
  for (const std::string& finding : verdict.findings) {
    std::cout << "  " << finding << (finding.ends_with('\n') ? "" : "\n");
  }
  if (unresolved > 0) std::cout << "  never answered: " << unresolved << " changes\n";
  std::cout << "lost " << verdict.lost << ", doubled " << verdict.doubled << ", wrong reports "
            << verdict.wrong << std::endl;
  if (!verdict.good()) return 1;
  return unresolved == 0 ? 0 : 3;
}

int Run::run() {
  std::cout << "seed " << options_.seed << ", engine " << options_.engine << ", "
            << options_.minutes << " minutes" << std::endl;
  ask_while_faults_happen();
  return judge();
}

int main(int argc, char** argv) {
  // Workers whose supervisor was killed become children of this process, which sees them end.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  Options options;
  options.seed = Random(std::random_device()(), 0).below(1'000'000'000);
  CLI::App app("Injects faults into counterd and judges what its clients are told.");
  app.add_option("--seed", options.seed, "What chance follows from");
  app.add_option("--minutes", options.minutes, "How long")->check(CLI::PositiveNumber);
  app.add_option("--clients", options.clients, "How many ask over HTTP")->check(CLI::Range(1, 200));
  app.add_option("--patience", options.patience_s, "Seconds to wait for answers at the end")
      ->check(CLI::Range(1, 600));
  app.add_option("--engine", options.engine, "sqlite or redis")
      ->check(CLI::IsMember({"sqlite", "redis"}));
  app.add_option("--only", options.only, "Faults to choose from, of " + names_of_faults())
      ->delimiter(',');
  app.add_option("--counterd", options.counterd, "The daemon to test");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& name : options.only) {
    if (is_fault(name)) continue;
    std::cerr << "no such fault: " << name << "; there are " << names_of_faults() << "\n";
    return 64;
  }
  try {
    return Run(options).run();
  } catch (const std::exception& exception) {
    std::cerr << "counterd_faults: " << exception.what() << "\n";
    return 2;
  }
}

}  // namespace
}  // namespace counterd::faults

int main(int argc, char** argv) {
  return counterd::faults::main(argc, argv);
}
