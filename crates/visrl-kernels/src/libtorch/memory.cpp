// Memory of an NVIDIA GPU, as LibTorch's allocator sees it.
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>

#include <exception>
#include <utility>

namespace {
// Free bytes and all bytes, which LibTorch tells from 2.10 on.
template <class Allocator>
auto info(Allocator *allocator, c10::DeviceIndex device, int)
    -> decltype(std::pair<size_t, size_t>(allocator->getMemoryInfo(device))) {
  return allocator->getMemoryInfo(device);
}

template <class Allocator>
std::pair<size_t, size_t> info(Allocator *, c10::DeviceIndex, long) {
  return {0, 0};
}
} // namespace

extern "C" {
// The most bytes that tensors held at once, the bytes that the allocator holds beyond those of
// tensors, and the device's free and all bytes (0 where LibTorch does not tell); false where there is
// no such device, or nothing was computed on it yet.
bool visrl_memory(int device, uint64_t *peak, uint64_t *spare, uint64_t *free, uint64_t *all) {
  try {
    auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    if (!allocator->initialized()) {
      return false;
    }
    auto stats = allocator->getDeviceStats(c10::DeviceIndex(device));
    *peak = stats.allocated_bytes[0].peak;
    *spare = stats.reserved_bytes[0].current - stats.allocated_bytes[0].current;
    auto found = info(allocator, c10::DeviceIndex(device), 0);
    *free = found.first;
    *all = found.second;
    return true;
  } catch (const std::exception &) {
    return false;
  }
}
}
