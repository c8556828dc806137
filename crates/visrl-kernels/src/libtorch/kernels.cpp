// How long a device is busy with what operators of LibTorch start there, told by its profiler.
#include "guarded.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

using torch::autograd::profiler::KinetoEvent;
namespace profiler = torch::profiler::impl;

namespace {
bool runs_on_host(const KinetoEvent &event) { return event.deviceType() == c10::DeviceType::CPU; }

// Names of the outermost operators by the numbers that what they start refers to: those of their own
// and of the operators in them.
std::unordered_map<uint64_t, std::string> outermost(const std::vector<KinetoEvent> &events) {
  std::vector<const KinetoEvent *> operators;
  for (const auto &event : events) {
    // Calls of the device's runtime refer to operators.
    if (runs_on_host(event) && event.linkedCorrelationId() == 0 && event.correlationId() > 0) {
      operators.push_back(&event);
    }
  }
  std::sort(operators.begin(), operators.end(), [](auto *a, auto *b) {
    if (a->startThreadId() != b->startThreadId()) {
      return a->startThreadId() < b->startThreadId();
    }
    return a->startNs() != b->startNs() ? a->startNs() < b->startNs()
                                        : a->durationNs() > b->durationNs();
  });
  std::unordered_map<uint64_t, std::string> names;
  const KinetoEvent *outer = nullptr;
  for (const auto *event : operators) {
    bool within = outer && outer->startThreadId() == event->startThreadId() &&
                  event->startNs() < outer->startNs() + outer->durationNs();
    outer = within ? outer : event;
    names[event->correlationId()] = outer->name();
  }
  return names;
}
} // namespace

extern "C" {
// Follows what the device does from now on; without `device` the host alone.
const char *visrl_kernels_start(bool device) {
  return guarded([&] {
    std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU};
    if (device) {
      activities.insert(profiler::ActivityType::CUDA);
    }
    profiler::ExperimentalConfig all;
    all.profile_all_threads = true;
    profiler::ProfilerConfig config(profiler::ProfilerState::KINETO, false, false, false, false,
                                    false, all);
    torch::autograd::profiler::prepareProfiler(config, activities);
    torch::autograd::profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION});
  });
}

// Follows it no longer, and gives `each` the outermost operators that started something, with the
// number of kernels and copies and their time.
const char *visrl_kernels_stop(void *to, void (*each)(void *to, const char *name, uint64_t count,
                                                      uint64_t nanoseconds)) {
  return guarded([&] {
    auto result = torch::autograd::profiler::disableProfiler();
    auto names = outermost(result->events());
    std::map<std::string, std::pair<uint64_t, uint64_t>> found;
    for (const auto &event : result->events()) {
      if (runs_on_host(event)) {
        continue;
      }
      auto name = names.find(event.linkedCorrelationId());
      auto &of = found[name == names.end() ? "of no operator" : name->second];
      ++of.first;
      of.second += event.durationNs();
    }
    for (const auto &[name, of] : found) {
      each(to, name.c_str(), of.first, of.second);
    }
  });
}
}
