// Which operators of LibTorch a program calls, how long the host is busy with them, and what crosses
// between host and device: LibTorch tells of the beginning and end of every operator.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace {
using Clock = std::chrono::steady_clock;

struct Operator {
  uint64_t calls = 0;
  uint64_t nanoseconds = 0;
};

struct Record {
  std::mutex mutex;
  std::map<std::string, Operator> operators;
  uint64_t up = 0;
  uint64_t down = 0;
};

Record record;
at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
// Operators that the innermost one of this thread runs in.
thread_local int depth = 0;

struct Began : at::ObserverContext {
  Clock::time_point at = Clock::now();
};

// Bytes of `to`, which is how burn-tch moves tensors: with a device alone a tensor that was just
// made from numbers in host memory, or one that goes back there; with the format that the tensor
// has, in host memory, one that is about to be read.
void count_bytes(const at::RecordFunction &function) {
  std::string name = function.name();
  auto inputs = function.inputs();
  if (inputs.empty() || !inputs[0].isTensor() || !inputs[0].toTensor().defined()) {
    return;
  }
  const at::Tensor &tensor = inputs[0].toTensor();
  uint64_t bytes = tensor.numel() * tensor.element_size();
  bool on_host = tensor.device().is_cpu();
  std::lock_guard<std::mutex> lock(record.mutex);
  if (name == "aten::item" || name == "aten::_local_scalar_dense") {
    record.down += bytes;
  } else if (name == "aten::to" && inputs.size() == 8 && inputs[3].isDevice()) {
    // self, dtype, layout, device, pin_memory, non_blocking, copy, memory_format
    bool keeps_format = inputs[1].isInt() && inputs[1].toInt() == int64_t(tensor.scalar_type());
    if (inputs[1].isNone()) {
      (on_host ? record.up : record.down) += bytes;
    } else if (keeps_format && on_host) {
      record.down += bytes;
    }
  }
}

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction &function) {
  // What the threads of an operator call is a part of it, too.
  if (depth++ > 0 || at::in_parallel_region()) {
    return nullptr;
  }
  count_bytes(function);
  return std::make_unique<Began>();
}

void end(const at::RecordFunction &function, at::ObserverContext *began) {
  --depth;
  if (!began) {
    return;
  }
  auto busy = Clock::now() - static_cast<Began *>(began)->at;
  std::lock_guard<std::mutex> lock(record.mutex);
  Operator &of = record.operators[function.name()];
  ++of.calls;
  of.nanoseconds += std::chrono::duration_cast<std::chrono::nanoseconds>(busy).count();
}
} // namespace

extern "C" {
// Forgets what was recorded and records from now on.
void visrl_record_start() {
  std::lock_guard<std::mutex> lock(record.mutex);
  record.operators.clear();
  record.up = record.down = 0;
  handle = at::addGlobalCallback(
      at::RecordFunctionCallback(begin, end).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
}

// Records no longer.
void visrl_record_stop() {
  at::removeCallback(handle);
  handle = at::INVALID_CALLBACK_HANDLE;
}

// Bytes that went up to the device and down from it.
void visrl_record_bytes(uint64_t *up, uint64_t *down) {
  std::lock_guard<std::mutex> lock(record.mutex);
  *up = record.up;
  *down = record.down;
}

// Gives every operator that was called to `each`.
void visrl_record_each(void *to, void (*each)(void *to, const char *name, uint64_t calls,
                                              uint64_t nanoseconds)) {
  std::lock_guard<std::mutex> lock(record.mutex);
  for (const auto &[name, of] : record.operators) {
    each(to, name.c_str(), of.calls, of.nanoseconds);
  }
}
}
