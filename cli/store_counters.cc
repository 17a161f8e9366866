#include "cli/counters.h"
#include "common/version.h"

namespace counterd {
namespace {

class StoreCounters : public Counters {
 public:
  explicit StoreCounters(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  void apply(Step& step, Deadline deadline) override {
    if (const Result<void> resolved = resolve_timezones(step.operation); !resolved) {
      step.outcome = failed(resolved.error());
      return;
    }
    run_batch(*store_, {&step, 1}, deadline);
    if (step.outcome.code != Code::kUnavailable) return;
    // An outcome does not say whether only another configuration helps.
    const Result<void> answers = store_->probe(deadline);
    if (!answers && answers.error().code == Code::kConfig) step.outcome = failed(answers.error());
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
