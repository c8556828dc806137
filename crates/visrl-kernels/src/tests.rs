//! Kernels against their forms in tensor operations: values and gradients on random shapes.

use burn::module::{Param, ParamId};
use burn::nn::{LayerNormConfig, RmsNormConfig};
use burn::optim::{AdamWConfig, Optimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use proptest::prelude::*;

use super::testing::{close, compare, matrix, numbers, values};
use super::{
    AdamWStep, Gelu, Mask, RowGradients, SelfAttention, Turn, adamw, layer_norm, linear,
    log_softmax, log_softmax_backward, masked_softmax, rms_norm, silu, silu_mul, softmax,
    sum_of_squares,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn softmax_with_and_without_mask(
        seed in 0u64..1000, groups in 1usize..5, len in 1usize..9, past in 0usize..40,
        scale in 0.1f32..30.0,
    ) {
        let columns = past + len;
        for mask in [Mask::Full, Mask::Causal { len, past }] {
            let [fused, plain] = [masked_softmax, softmax::plain::<2>];
            compare([(groups * len, columns, scale)], seed, 2e-6, |[x]| fused(x, mask), |[x]| plain(x, mask));
        }
    }

    #[test]
    fn silu_times_up(seed in 0u64..1000, rows in 1usize..40, columns in 1usize..90, scale in 0.1f32..30.0) {
        let shape = (rows, columns, scale);
        compare([shape; 2], seed, 4e-6, |[a, b]| silu_mul(a, b), |[a, b]| silu::plain(a, b));
    }

    #[test]
    fn gelus(seed in 0u64..1000, rows in 1usize..40, columns in 1usize..90, scale in 0.1f32..10.0) {
        for kind in [Gelu::Quick, Gelu::Exact] {
            let shape = (rows, columns, scale);
            compare([shape], seed, 4e-6, |[x]| kind.apply(x), |[x]| kind.plain(x));
        }
    }

    #[test]
    fn rotary(seed in 0u64..1000, tokens in 1usize..30, heads in 1usize..5, half in 1usize..20) {
        let turn = Turn::new(&numbers(seed, tokens * half, 20.0), half);
        let tracked = turn.clone();
        compare(
            [(tokens, heads * 2 * half, 3.0)],
            seed,
            2e-6,
            |[x]| turn.apply(x),
            // The tensors of a table stay on the device that asked first.
            |[x]| match x.is_autodiff() {
                true => Turn::new(&numbers(seed, tokens * half, 20.0), half).plain(x),
                false => tracked.plain(x),
            },
        );
    }

    #[test]
    fn self_attention(
        seed in 0u64..1000, sizes in prop::collection::vec(1usize..7, 1..5), heads in 1usize..4,
        half in 1usize..6, scale in 0.1f32..3.0,
    ) {
        let tokens: usize = sizes.iter().sum();
        let attention = || SelfAttention {
            turn: Turn::new(&numbers(seed, tokens * half, 20.0), half),
            sizes: sizes.clone(),
            heads,
        };
        let shape = (tokens, 3 * heads * 2 * half, scale);
        compare([shape], seed, 1e-5, |[x]| attention().apply(x), |[x]| attention().plain(x));
    }

    #[test]
    fn linear_maps(
        seed in 0u64..1000, rows in 1usize..90, inner in 1usize..50, columns in 1usize..70,
    ) {
        let [x, weight, bias] = [(rows, inner, 2.0), (inner, columns, 2.0), (1, columns, 2.0)];
        compare([x, weight], seed, 2e-5, |[x, w]| linear(x, w, None), |[x, w]| {
            linear::plain(x, w, None)
        });
        compare([x, weight, bias], seed, 2e-5, |[x, w, b]| linear(x, w, Some(b.squeeze_dim(0))), |[x, w, b]| {
            linear::plain(x, w, Some(b.squeeze_dim(0)))
        });
    }

    #[test]
    fn norms(seed in 0u64..1000, rows in 1usize..20, columns in 2usize..70, scale in 0.1f32..10.0) {
        let device = Device::flex();
        let shapes = [(rows, columns, scale), (1, columns, 2.0), (1, columns, 2.0)];
        let rms = |x: Tensor<2>, gamma: Tensor<2>| {
            let mut norm = RmsNormConfig::new(columns).with_epsilon(1e-6).init(&device);
            norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
            (norm, x)
        };
        let [x, gamma, _] = shapes;
        compare([x, gamma], seed, 2e-5, |[x, gamma]| {
            let (norm, x) = rms(x, gamma);
            rms_norm(&norm, x)
        }, |[x, gamma]| {
            let (norm, x) = rms(x, gamma);
            norm.forward(x)
        });
        let layer = |[x, gamma, beta]: [Tensor<2>; 3]| {
            let mut norm = LayerNormConfig::new(columns).with_epsilon(1e-6).init(&device);
            norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
            norm.beta = Some(Param::initialized(ParamId::new(), beta.squeeze_dim(0)));
            (norm, x)
        };
        compare(shapes, seed, 1e-4, |inputs| {
            let (norm, x) = layer(inputs);
            layer_norm(&norm, 1e-6, x)
        }, |inputs| {
            let (norm, x) = layer(inputs);
            norm.forward(x)
        });
    }

    #[test]
    fn log_softmax_with_entropy(
        seed in 0u64..1000, rows in 1usize..20, vocab in 1usize..300, scale in 0.1f32..20.0,
        with_entropy: bool,
    ) {
        let device = Device::flex();
        let logits = || matrix(seed, rows, vocab, scale, &device);
        let targets: Vec<u32> = (0..rows).map(|row| ((seed as usize + 7 * row) % vocab) as u32).collect();
        let c = numbers(seed + 1, rows, 1.0);
        let e = numbers(seed + 2, rows, 1.0);
        let found = log_softmax(logits(), &targets).unwrap();
        // The same in tensor operations, and its gradient.
        let tracked = logits().autodiff().require_grad();
        let logps = burn::tensor::activation::log_softmax(tracked.clone(), 1);
        let entropies = -(logps.clone() * logps.clone().exp()).sum_dim(1);
        close(&values(found.logps.clone()), &values(logps.clone()), 2e-6);
        close(&found.entropies, &values(entropies.clone()), 4e-6);
        let index: Vec<i64> = targets.iter().map(|&target| i64::from(target)).collect();
        let index = Tensor::<2, Int>::from_data(TensorData::new(index, [rows, 1]), &tracked.device());
        let chosen = logps.gather(1, index);
        close(&found.chosen, &values(chosen.clone()), 2e-6);
        let column = |values: &[f32]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, 1]), &tracked.device())
        };
        let mut loss = (chosen * column(&c)).sum();
        if with_entropy {
            loss = loss + (entropies * column(&e)).sum();
        }
        let expected = tracked.grad(&loss.backward()).unwrap();
        let gradients = RowGradients {
            logp: &c,
            entropy: with_entropy.then_some((&e[..], &found.entropies[..])),
        };
        let gradient = log_softmax_backward(found.logps, &targets, gradients).unwrap();
        close(&values(gradient), &values(expected), 1e-5);
    }

    #[test]
    fn adamw_as_burn_does_it(seed in 0u64..1000, len in 1usize..200, weight_decay in 0.0f32..0.2) {
        let device = Device::flex();
        let vector = |seed: u64| {
            Tensor::<1>::from_data(TensorData::new(numbers(seed, len, 1.0), [len]), &device)
        };
        let rule = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(weight_decay).build();
        let mut state = [vector(seed), vector(seed).zeros_like(), vector(seed).zeros_like()];
        let (mut expected, mut burn_state) = (vector(seed), None);
        for time in 1..4 {
            let gradient = vector(seed + time as u64);
            let step = AdamWStep {
                betas: [0.9, 0.999],
                epsilon: 1e-8,
                weight_decay,
                learning_rate: 1e-2,
                time,
            };
            state = adamw(&step, state, &gradient).unwrap();
            (expected, burn_state) = rule.step(1e-2, expected, gradient.clone(), burn_state);
            close(&values(state[0].clone()), &values(expected.clone()), 1e-6);
            let squares = sum_of_squares(&gradient).unwrap();
            let exact: f64 = values(gradient).into_iter().map(|g| f64::from(g).powi(2)).sum();
            assert!((squares - exact).abs() <= 1e-6 * exact);
        }
    }
}

/// What is not an untracked tensor in host memory comes back.
#[test]
fn tracked_tensors_are_left_to_the_plain_form() {
    let tracked = || matrix(1, 2, 3, 1.0, &Device::flex()).autodiff();
    assert!(log_softmax(tracked(), &[0, 1]).is_err());
    assert!(sum_of_squares(&tracked().reshape([6])).is_none());
    let plain = matrix(1, 2, 3, 1.0, &Device::flex());
    assert!(
        log_softmax(plain.clone(), &[0]).is_err(),
        "a target is missing"
    );
    assert!(
        log_softmax(plain, &[0, 3]).is_err(),
        "beyond the vocabulary"
    );
}

/// Large enough for several tasks.
#[test]
fn large_tensors() {
    compare(
        [(300, 301, 5.0)],
        7,
        4e-6,
        |[x]| masked_softmax(x, Mask::Full),
        |[x]| softmax::plain(x, Mask::Full),
    );
    compare(
        [(300, 301, 5.0); 2],
        8,
        4e-6,
        |[a, b]| silu_mul(a, b),
        |[a, b]| silu::plain(a, b),
    );
}

/// A gradient that is not a number must reach the caller.
#[test]
fn what_is_not_a_number_stays_so() {
    let x = || Tensor::<2>::from_floats([[f32::NAN, 1.0]], &Device::flex());
    assert!(values(silu_mul(x(), x()))[0].is_nan());
    assert!(values(Gelu::Exact.apply(x()))[0].is_nan());
    assert!(
        values(masked_softmax(x(), Mask::Full))
            .iter()
            .all(|x| x.is_nan())
    );
}
