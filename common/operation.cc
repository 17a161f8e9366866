#include "common/operation.h"

namespace counterd {

std::string describe_operation(const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::kIncrement:
      return "increment " + std::to_string(operation.operand);
    case OperationKind::kReset:
      return "reset " + std::to_string(operation.operand);
    case OperationKind::kDelete:
      return "delete";
    case OperationKind::kReport:
      break;
  }
  return "report";
}

}  // namespace counterd
