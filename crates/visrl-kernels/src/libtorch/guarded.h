// How functions give their results, and tell what went wrong.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <string>

// Of this thread's last function that failed.
inline thread_local std::string message;

// Runs a function; gives what went wrong, or nothing.
template <class F> const char *guarded(F run) {
  try {
    run();
    return nullptr;
  } catch (const c10::Error &error) {
    message = error.what_without_backtrace();
  } catch (const std::exception &error) {
    message = error.what();
  }
  return message.c_str();
}

// A pass of our own is one operator to those who listen, whatever it calls.
#define VISRL_OPERATOR(name) RECORD_FUNCTION(name, c10::ArrayRef<const c10::IValue>{})

inline at::Tensor *give(at::Tensor tensor) {
  return tensor.defined() ? new at::Tensor(std::move(tensor)) : nullptr;
}
