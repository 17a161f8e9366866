#include "cli/counters.h"
#include "common/version.h"

namespace counterd {
namespace {

// Here, where the operation names its time zone: the one that the caller has may not.
void explain_windows(const Operation& operation, Outcome& outcome) {
  if (outcome.code == Code::kOtherWindow && outcome.members.empty()) {
    outcome.detail = explain(operation, outcome);
  }
  for (std::size_t i = 0; i < outcome.members.size(); ++i) {
    explain_windows(operation.members[i], outcome.members[i]);
  }
}

class StoreCounters : public Counters {
 public:
  explicit StoreCounters(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  Outcome apply(const Operation& operation, Deadline deadline) override {
    Step step{operation};
    const Result<void> resolved = resolve_timezones(step.operation);
    if (!resolved) return failed(resolved.error());
    run_batch(*store_, {&step, 1}, deadline);
    explain_windows(step.operation, step.outcome);
    // An outcome does not say whether only another configuration helps.
    if (step.outcome.code == Code::kUnavailable) {
      const Result<void> answers = store_->probe(deadline);
      if (!answers && answers.error().code == Code::kConfig) return failed(answers.error());
    }
    return std::move(step.outcome);
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
