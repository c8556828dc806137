// Operators of LibTorch that the tch crate leaves out: they take lists of tensors or of flags.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_rms_norm_backward.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

using at::Tensor;
using Tensors = Tensor *const *;

namespace {
thread_local std::string message;

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

Tensor *give(Tensor tensor) {
  return tensor.defined() ? new Tensor(std::move(tensor)) : nullptr;
}

std::vector<Tensor> list(Tensors from, size_t count) {
  std::vector<Tensor> tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    tensors.push_back(*from[i]);
  }
  return tensors;
}

Tensor wide(const Tensor &of) {
  return (of.scalar_type() == at::kFloat ? of : of.to(at::kFloat)).contiguous();
}

// The gradients of an RMS norm on a CPU, where LibTorch has no operator for them. With r the row's
// scale, h = x r and e = d y gamma, d x = r (e - h mean(e h)) and d gamma = sum over rows of (d y h).
std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor &grad, const Tensor &x,
                                             const Tensor &scale, const Tensor &weight) {
  auto kind = x.scalar_type();
  Tensor dy = wide(grad), of = wide(x), r = wide(scale), gamma = wide(weight);
  Tensor dx = at::empty_like(of), dgamma = at::zeros_like(gamma);
  int64_t width = gamma.numel(), rows = of.numel() / std::max<int64_t>(width, 1);
  const float *w = gamma.data_ptr<float>();
  float *sums = dgamma.data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) {
    const float *g = dy.data_ptr<float>() + row * width, *h = of.data_ptr<float>() + row * width;
    float *out = dx.data_ptr<float>() + row * width;
    float s = r.data_ptr<float>()[row];
    double dot = 0;
    for (int64_t i = 0; i < width; ++i) {
      dot += g[i] * w[i] * h[i];
      sums[i] += g[i] * h[i] * s;
    }
    float mean = dot * s / width;
    for (int64_t i = 0; i < width; ++i) {
      out[i] = s * (g[i] * w[i] - h[i] * s * mean);
    }
  }
  if (kind != at::kFloat) {
    return {dx.to(kind), dgamma.to(kind)};
  }
  return {dx, dgamma};
}

using Below = at::AutoDispatchBelowADInplaceOrView;
} // namespace

extern "C" {
// While it lives, this thread's operators do not look for what autograd would record.
void *visrl_below_autograd() { return new Below(); }

void visrl_end_below_autograd(void *guard) { delete static_cast<Below *>(guard); }

const char *visrl_rms_norm_backward(Tensor *grad, Tensor *x, Tensor *scale, Tensor *weight,
                                    bool of_weight, Tensor **out) {
  return guarded([&] {
    auto [dx, dw] = x->is_cuda() ? at::_fused_rms_norm_backward(*grad, *x, weight->sizes(), *scale,
                                                                *weight, {true, of_weight})
                                 : rms_norm_backward(*grad, *x, *scale, *weight);
    out[0] = give(dx);
    out[1] = of_weight ? give(dw) : nullptr;
  });
}

const char *visrl_layer_norm_backward(Tensor *grad, Tensor *x, Tensor *mean, Tensor *scale,
                                      Tensor *weight, Tensor *bias, const bool *wanted,
                                      Tensor **out) {
  return guarded([&] {
    auto [dx, dw, db] = at::native_layer_norm_backward(
        *grad, *x, weight->sizes(), *mean, *scale, *weight, *bias, {true, wanted[0], wanted[1]});
    out[0] = give(dx);
    out[1] = wanted[0] ? give(dw) : nullptr;
    out[2] = wanted[1] ? give(db) : nullptr;
  });
}

const char *visrl_efficient_attention_backward(Tensor *grad, Tensor *query, Tensor *key,
                                               Tensor *value, Tensor *bias, Tensor *result,
                                               Tensor *log_sums, Tensor *seed, Tensor *offset,
                                               Tensor **out) {
  return guarded([&] {
    auto [dq, dk, dv, db] = at::_scaled_dot_product_efficient_attention_backward(
        *grad, *query, *key, *value, bias ? *bias : Tensor(), *result, *log_sums, *seed, *offset,
        0.0, {true, true, true, false});
    out[0] = give(dq);
    out[1] = give(dk);
    out[2] = give(dv);
  });
}

// Results: what is attended, log-sums, and the two numbers of a dropout that there is not.
const char *visrl_flash_attention(Tensor *query, Tensor *key, Tensor *value, Tensor **out) {
  return guarded([&] {
    auto found = at::_scaled_dot_product_flash_attention(*query, *key, *value, 0.0, false, false);
    out[0] = give(std::get<0>(found));
    out[1] = give(std::get<1>(found));
    out[2] = give(std::get<6>(found));
    out[3] = give(std::get<7>(found));
  });
}

const char *visrl_flash_attention_backward(Tensor *grad, Tensor *query, Tensor *key, Tensor *value,
                                           Tensor *result, Tensor *log_sums, Tensor *seed,
                                           Tensor *offset, Tensor **out) {
  return guarded([&] {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_backward(
        *grad, *query, *key, *value, *result, *log_sums, Tensor(), Tensor(), query->size(2),
        key->size(2), 0.0, false, *seed, *offset);
    out[0] = give(dq);
    out[1] = give(dk);
    out[2] = give(dv);
  });
}

const char *visrl_adamw(Tensors values, Tensors gradients, Tensors first, Tensors second,
                        size_t count, Tensor *time, double rate, double beta_1, double beta_2,
                        double decay, double epsilon) {
  return guarded([&] {
    auto of = list(values, count);
    std::vector<Tensor> times(count, *time);
    at::_fused_adamw_(of, list(gradients, count), list(first, count), list(second, count), {}, times,
                      rate, beta_1, beta_2, decay, epsilon, false, false);
  });
}

const char *visrl_copy_all(Tensors to, Tensors from, size_t count) {
  return guarded([&] { at::_foreach_copy_(list(to, count), list(from, count)); });
}

const char *visrl_scale_all(Tensors of, size_t count, double factor) {
  return guarded([&] { at::_foreach_mul_(list(of, count), at::Scalar(factor)); });
}

const char *visrl_norms(Tensors of, size_t count, Tensor **out) {
  return guarded(
      [&] { out[0] = give(at::stack(at::_foreach_norm(list(of, count), 2, at::kFloat))); });
}
}
