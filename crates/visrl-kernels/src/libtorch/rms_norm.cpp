// RMS norms: on CUDA LibTorch's own operators, of which the tch crate leaves out the gradient; on a
// CPU, where LibTorch puts them together of many, one pass over the rows.
#include "guarded.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_fused_rms_norm_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

using at::Tensor;

namespace {
// Rows that a thread takes at once have at least this many numbers.
constexpr int64_t GRAIN = 1 << 14;

// A norm of numbers In, computed with in T, which LibTorch calls `wide`.
template <class In, class T> struct OnHost {
  at::ScalarType wide;

  // With r = 1 / sqrt(mean(x^2) + epsilon), y = x r gamma; y and, where it is kept, r. Rows of heads,
  // [tokens, heads, dim], may lie apart; without gamma nothing multiplies them.
  std::tuple<Tensor, Tensor> forward(const Tensor &x, const Tensor *gamma, double epsilon,
                                     bool keep) const {
    VISRL_OPERATOR("visrl::rms_norm");
    bool apart = x.dim() == 3 && x.stride(2) == 1;
    Tensor of = apart ? x : x.contiguous(), weight = gamma ? gamma->contiguous() : Tensor();
    Tensor y = at::empty(of.sizes(), of.options());
    int64_t width = of.size(-1), rows = of.numel() / std::max<int64_t>(width, 1);
    int64_t heads = apart ? std::max<int64_t>(of.size(1), 1) : 1;
    int64_t token = apart ? of.stride(0) : width, head = apart ? of.stride(1) : 0;
    Tensor scales = keep ? at::empty({rows, 1}, of.options().dtype(wide)) : Tensor();
    const In *in = of.const_data_ptr<In>(), *w = gamma ? weight.const_data_ptr<In>() : nullptr;
    In *out = y.data_ptr<In>();
    T *scale = keep ? scales.data_ptr<T>() : nullptr;
    int64_t grain = std::max<int64_t>(GRAIN / std::max<int64_t>(width, 1), 1);
    at::parallel_for(0, rows, grain, [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const In *h = in + row / heads * token + row % heads * head;
        double sum = 0;
        for (int64_t i = 0; i < width; ++i) {
          T value = h[i];
          sum += value * value;
        }
        T r = 1 / std::sqrt(sum / width + epsilon);
        if (scale) {
          scale[row] = r;
        }
        for (int64_t i = 0; i < width; ++i) {
          // Rounded before the weights multiply it, as transformers does.
          T normed = In(T(h[i]) * r);
          out[row * width + i] = w ? In(normed * T(w[i])) : In(normed);
        }
      }
    });
    return {y, scales};
  }

  // With h = x r and e = d y gamma, d x = r (e - h mean(e h)), d gamma = sum over rows of (d y h).
  std::tuple<Tensor, Tensor> backward(const Tensor &grad, const Tensor &x, const Tensor &scale,
                                      const Tensor &gamma) const {
    VISRL_OPERATOR("visrl::rms_norm_backward");
    Tensor dy = grad.contiguous(), of = x.contiguous(), r = scale.contiguous();
    Tensor weight = gamma.contiguous(), dx = at::empty_like(of), dgamma = at::empty_like(weight);
    int64_t width = weight.numel(), rows = of.numel() / std::max<int64_t>(width, 1);
    const In *w = weight.const_data_ptr<In>();
    std::vector<T> sums(width);
    for (int64_t row = 0; row < rows; ++row) {
      const In *g = dy.const_data_ptr<In>() + row * width;
      const In *h = of.const_data_ptr<In>() + row * width;
      In *out = dx.data_ptr<In>() + row * width;
      T s = r.const_data_ptr<T>()[row];
      double dot = 0;
      for (int64_t i = 0; i < width; ++i) {
        T gi = g[i], hi = h[i];
        dot += gi * T(w[i]) * hi;
        sums[i] += gi * hi * s;
      }
      T mean = dot * s / width;
      for (int64_t i = 0; i < width; ++i) {
        out[i] = In(s * (T(g[i]) * T(w[i]) - T(h[i]) * s * mean));
      }
    }
    std::copy(sums.begin(), sums.end(), dgamma.data_ptr<In>());
    return {dx, dgamma};
  }
};

// Gives the norm of a tensor's format to a function.
template <class F> std::tuple<Tensor, Tensor> on_host(const Tensor &x, F run) {
  switch (x.scalar_type()) {
  case at::kDouble:
    return run(OnHost<double, double>{at::kDouble});
  case at::kBFloat16:
    return run(OnHost<at::BFloat16, float>{at::kFloat});
  default:
    return run(OnHost<float, float>{at::kFloat});
  }
}
} // namespace

extern "C" {
// Results: the norm of rows, without a weight where there is none, and, where it is kept, one over the
// root mean square of each row.
const char *visrl_rms_norm(Tensor *x, Tensor *weight, double epsilon, bool keep, Tensor **out) {
  return guarded([&] {
    auto gamma = weight ? std::optional<Tensor>(*weight) : std::nullopt;
    auto [y, scale] = x->is_cuda() ? at::_fused_rms_norm(*x, x->sizes().slice(x->dim() - 1), gamma, epsilon)
                                   : on_host(*x, [&](auto norm) {
                                       return norm.forward(*x, weight, epsilon, keep);
                                     });
    out[0] = give(y);
    out[1] = keep ? give(scale) : nullptr;
  });
}

const char *visrl_rms_norm_backward(Tensor *grad, Tensor *x, Tensor *scale, Tensor *weight,
                                    bool of_weight, Tensor **out) {
  return guarded([&] {
    auto [dx, dw] = x->is_cuda()
                        ? at::_fused_rms_norm_backward(grad->contiguous(), x->contiguous(),
                                                       weight->sizes(), *scale, *weight,
                                                       {true, of_weight})
                        : on_host(*x, [&](auto norm) {
                            return norm.backward(*grad, *x, *scale, *weight);
                          });
    out[0] = give(dx);
    out[1] = of_weight ? give(dw) : nullptr;
  });
}
}
