// Operators of LibTorch that the tch crate leaves out: they take lists of tensors or of flags.
#include "guarded.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/stack.h>

#include <tuple>
#include <vector>

using at::Tensor;
using Tensors = Tensor *const *;

namespace {
std::vector<Tensor> list(Tensors from, size_t count) {
  std::vector<Tensor> tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    tensors.push_back(*from[i]);
  }
  return tensors;
}

using Below = at::AutoDispatchBelowADInplaceOrView;
} // namespace

extern "C" {
// While it lives, this thread's operators do not look for what autograd would record.
void *visrl_below_autograd() { return new Below(); }

void visrl_end_below_autograd(void *guard) { delete static_cast<Below *>(guard); }

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
  return guarded([&] {
    auto all = list(of, count);
    bool is_double = count > 0 && all[0].scalar_type() == at::kDouble;
    out[0] = give(at::stack(at::_foreach_norm(all, 2, is_double ? at::kDouble : at::kFloat)));
  });
}
}
