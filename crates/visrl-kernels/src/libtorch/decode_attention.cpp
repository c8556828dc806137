// Attention of one new token of each row on a CPU: LibTorch's own makes a product of each pair of row
// and head, which costs more than what there is to compute.
#include "guarded.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using at::Tensor;

namespace {
// Sums that are kept side by side, so that compilers make vectors of them.
constexpr int64_t LANES = 16;

template <class In, class T> T dot(const In *a, const In *b, int64_t count) {
  T sums[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (int64_t lane = 0; lane < LANES; ++lane) {
      sums[lane] += T(a[i + lane]) * T(b[i + lane]);
    }
  }
  T sum = 0;
  for (; i < count; ++i) {
    sum += T(a[i]) * T(b[i]);
  }
  for (T lane : sums) {
    sum += lane;
  }
  return sum;
}

// Queries are [rows, kv heads, group, dim], keys and values [rows, kv heads, capacity, dim], with
// numbers of a head side by side; In numbers are computed with in T, which LibTorch calls `wide`.
template <class In, class T> Tensor attend(const Tensor &queries, const Tensor &keys,
                                           const Tensor &values, const Tensor &places,
                                           at::ScalarType wide) {
  VISRL_OPERATOR("visrl::decode_attention");
  int64_t rows = queries.size(0), kv = queries.size(1), group = queries.size(2);
  int64_t dim = queries.size(3), capacity = keys.size(2);
  Tensor mixed = at::empty({rows, kv * group * dim}, queries.options());
  Tensor scores = at::empty({rows, kv * group, capacity}, queries.options().dtype(wide));
  Tensor ends = places.contiguous();
  const int64_t *place = ends.const_data_ptr<int64_t>();
  const In *q = queries.const_data_ptr<In>(), *k = keys.const_data_ptr<In>();
  const In *v = values.const_data_ptr<In>();
  auto seen = [=](int64_t row) { return place[row] - row * capacity + 1; };
  auto at = [](const Tensor &of, int64_t row, int64_t head, int64_t token) {
    return row * of.stride(0) + head * of.stride(1) + token * of.stride(2);
  };
  T scale = 1 / std::sqrt(T(dim)), *score = scores.data_ptr<T>();
  at::parallel_for(0, rows * kv, 1, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      int64_t row = pair / kv, head = pair % kv, tokens = seen(row);
      for (int64_t of = 0; of < group; ++of) {
        T *out = score + (pair * group + of) * capacity;
        const In *query = q + at(queries, row, head, of);
        const In *key = k + at(keys, row, head, 0);
        for (int64_t token = 0; token < tokens; ++token, key += keys.stride(2)) {
          out[token] = scale * dot<In, T>(query, key, dim);
        }
        std::fill(out + tokens, out + capacity, -std::numeric_limits<T>::infinity());
      }
    }
  });
  Tensor shares = at::softmax(scores, -1);
  const T *share = shares.const_data_ptr<T>();
  In *out = mixed.data_ptr<In>();
  at::parallel_for(0, rows * kv, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> sums(dim);
    for (int64_t pair = begin; pair < end; ++pair) {
      int64_t row = pair / kv, head = pair % kv, tokens = seen(row);
      for (int64_t of = 0; of < group; ++of) {
        std::fill(sums.begin(), sums.end(), T(0));
        T *sum = sums.data();
        const T *by = share + (pair * group + of) * capacity;
        const In *value = v + at(values, row, head, 0);
        for (int64_t token = 0; token < tokens; ++token, value += values.stride(2)) {
          for (int64_t i = 0; i < dim; ++i) {
            sum[i] += by[token] * T(value[i]);
          }
        }
        for (int64_t i = 0; i < dim; ++i) {
          out[(pair * group + of) * dim + i] = In(sum[i]);
        }
      }
    }
  });
  return mixed;
}
} // namespace

extern "C" {
// Result: what each row attends to up to its place among the tokens of all rows,
// [rows, query heads * dim].
const char *visrl_decode_attention(Tensor *queries, Tensor *keys, Tensor *values, Tensor *places,
                                   Tensor **out) {
  return guarded([&] {
    switch (queries->scalar_type()) {
    case at::kDouble:
      out[0] = give(attend<double, double>(*queries, *keys, *values, *places, at::kDouble));
      break;
    case at::kBFloat16:
      out[0] = give(attend<at::BFloat16, float>(*queries, *keys, *values, *places, at::kFloat));
      break;
    default:
      out[0] = give(attend<float, float>(*queries, *keys, *values, *places, at::kFloat));
    }
  });
}
}
