#include "cli/counters.h"
#include "common/version.h"

namespace counterd {
namespace {

void fail_all(std::span<Step> steps, const Error& error) {
  for (Step& step : steps) {
    step.outcome = {};
    step.outcome.code = error.code;
    step.outcome.detail = error.message;
  }
}

class StoreCounters : public Counters {
 public:
  explicit StoreCounters(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  void apply(std::span<Step> steps, Deadline deadline) override {
    for (Step& step : steps) {
      const Result<void> settled = settle_timezones(step.operation);
      if (!settled) return fail_all(steps, settled.error());
    }
    run_batch(*store_, steps, deadline);
  }

  Result<ListPage> list(const ListQuery& query, Deadline deadline) override {
    Result<ListPage> page = store_->list(query, deadline);
    store_->tidy();
    return page;
  }

  Result<CountersStatus> status(Deadline deadline) override {
    if (const Result<void> answers = store_->probe(deadline); !answers) return answers.error();
    return CountersStatus{"this process", std::string(kVersion), store_->status()};
  }

 private:
  std::unique_ptr<Store> store_;
};

}  // namespace

Result<std::unique_ptr<Counters>> counters_of_store(const StoreOptions& options) {
  Result<std::unique_ptr<Store>> store = open_store(options);
  if (!store) return store.error();
  return std::unique_ptr<Counters>(std::make_unique<StoreCounters>(std::move(*store)));
}

}  // namespace counterd
