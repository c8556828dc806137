//! What the kernels of cubecl ask of a device: each operation launches a bounded number of kernels
//! whatever the sizes, and other sizes compile nothing new.
//!
//! One test alone in its process, since what is launched is counted for the whole process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use burn::nn::{LayerNormConfig, RmsNorm, RmsNormConfig};
use burn::tensor::{DType, Device, DeviceKind, Distribution, Int, Tensor};
use cubecl::launched::LaunchedKernels;
use cubecl::logging::{LaunchObservation, LaunchObserver};
use visrl_kernels::attention::{Segment, attend};
use visrl_kernels::{
    AdamWStep, AdamWTensors, DecodeAttention, Gelu, Heads, Mask, RotationTable, RowGradients, Runs,
    SelfAttention, adamw, layer_norm, log_softmax, log_softmax_backward, masked_softmax, rms_norm,
    silu_mul, sum_of_squares,
};

/// Kernels of all operations, gradients included.
const KERNELS: usize = 24;

/// The names of the kernels of this crate that are launched.
#[derive(Default)]
struct Names(Mutex<Vec<&'static str>>);

impl LaunchObserver for Names {
    fn launched(&self, kernel: &'static str) {
        if kernel.contains("visrl_kernels") {
            self.0.lock().unwrap().push(kernel);
        }
    }
}

/// The names of the launches of some work, in order.
fn launches(work: impl FnOnce()) -> Vec<&'static str> {
    let names = Arc::new(Names::default());
    let observation = LaunchObservation::new(names.clone());
    work();
    drop(observation);
    names.0.lock().unwrap().clone()
}

fn device() -> Device {
    Device::wgpu(DeviceKind::default())
}

fn matrix(rows: usize, columns: usize) -> Tensor<2> {
    Tensor::random([rows, columns], Distribution::Default, &device())
}

/// Runs an operation, and its gradient where that is asked for.
fn run<const N: usize>(
    with_gradient: bool,
    inputs: [Tensor<2>; N],
    work: impl FnOnce([Tensor<2>; N]) -> Tensor<2>,
) {
    if !with_gradient {
        work(inputs);
        return;
    }
    let inputs = inputs.map(|input| input.autodiff().require_grad());
    let graph = work(inputs.clone()).sum().backward();
    for input in &inputs {
        assert!(input.grad(&graph).is_some());
    }
}

/// An operation, how many launches it may ask for forwards and with its gradient, and the work at a
/// size, with or without the gradient.
type Operation = (&'static str, [usize; 2], fn(usize, bool));

const OPERATIONS: [Operation; 12] = [
    ("rms_norm", [1, 4], |size, gradient| {
        let norm = tracked_norm(size, gradient);
        run(gradient, [matrix(size, size)], |[x]| rms_norm(&norm, x));
    }),
    ("layer_norm", [1, 5], |size, gradient| {
        let device = if gradient {
            device().autodiff()
        } else {
            device()
        };
        let norm = LayerNormConfig::new(size).init(&device);
        let of = |[x]: [Tensor<2>; 1]| layer_norm(&norm, 1e-5, x);
        run(gradient, [matrix(size, size)], of);
    }),
    ("silu_mul", [1, 2], |size, gradient| {
        let inputs = [matrix(size, size), matrix(size, size)];
        run(gradient, inputs, |[gate, up]| silu_mul(gate, up));
    }),
    ("gelu", [3, 6], |size, gradient| {
        for kind in [Gelu::Quick, Gelu::Exact, Gelu::Tanh] {
            run(gradient, [matrix(size, size)], |[x]| kind.apply(x));
        }
    }),
    ("rotary", [1, 2], |size, gradient| {
        let table = RotationTable::new(&vec![0.5; size * 2], 2);
        run(gradient, [matrix(size, 12)], |[x]| table.apply(x));
    }),
    ("masked_softmax", [1, 2], |size, gradient| {
        let mask = Mask::Causal { len: size, past: 0 };
        let of = |[x]: [Tensor<2>; 1]| masked_softmax(x, mask);
        run(gradient, [matrix(size, size)], of);
    }),
    ("log_softmax", [1, 2], log_softmax_both_ways),
    ("sum_of_squares", [1, 1], |size, _| {
        let vector = matrix(1, size).squeeze_dim::<1>(0);
        sum_of_squares(&[&vector]).unwrap();
    }),
    ("adamw", [1, 1], step),
    ("attention", [1, 5], attention),
    ("self_attention", [2, 6], self_attention),
    ("decode_attention", [2, 2], decode_attention),
];

fn tracked_norm(size: usize, gradient: bool) -> RmsNorm {
    let device = if gradient {
        device().autodiff()
    } else {
        device()
    };
    RmsNormConfig::new(size).init(&device)
}

fn heads() -> Heads {
    Heads {
        query: 4,
        kv: 2,
        dim: 8,
    }
}

fn attention(size: usize, gradient: bool) {
    let (groups, rows, len, prefix) = (size % 5 + 1, 2, size % 31 + 1, size % 40 + 1);
    let own = matrix(groups * rows * len, 16);
    let shared = matrix(groups * prefix, 16);
    let queries = matrix(groups * rows * len, 32);
    let inputs = [queries, own.clone(), own, shared.clone(), shared];
    run(gradient, inputs, |[queries, keys, values, a, b]| {
        let own = [keys, values].map(|side| side.reshape([groups * rows, len, 16]));
        let shared = [a, b].map(|side| side.reshape([groups, prefix, 16]));
        let segment = Segment {
            groups,
            rows,
            len,
            prefix: Some(&shared),
            own: &own,
            own_len: len,
        };
        attend(heads(), &[segment], queries)
    });
}

fn self_attention(size: usize, gradient: bool) {
    let (heads, half) = (2, 4);
    let op = SelfAttention {
        rotation: RotationTable::new(&vec![0.5; size * half], half),
        runs: Runs::new(vec![size / 2, size - size / 2]),
        heads,
    };
    let of = |[qkv]: [Tensor<2>; 1]| op.apply(qkv);
    run(gradient, [matrix(size, 6 * heads * half)], of);
}

fn decode_attention(size: usize, _: bool) {
    let lengths = Tensor::<1, Int>::arange(0..size as i64, &device());
    let step = DecodeAttention::new(heads(), matrix(size, 4), lengths, size, DType::F32);
    let cache = matrix(size * size, 32).reshape([size, size, 32]);
    step.attend(matrix(size, 64), cache);
}

fn log_softmax_both_ways(size: usize, gradient: bool) {
    let targets = vec![0; 3];
    let found = log_softmax(matrix(3, size), &targets).unwrap();
    if gradient {
        let of = RowGradients {
            logp: &[0.5; 3],
            entropy: None,
        };
        log_softmax_backward(found.logps, &targets, of).unwrap();
    }
}

fn step(size: usize, _: bool) {
    let vector = || matrix(1, size).squeeze_dim::<1>(0);
    let step = AdamWStep {
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.1,
        learning_rate: 1e-3,
        time: 3,
    };
    let tensors = AdamWTensors {
        values: vector(),
        first: vector(),
        second: vector(),
    };
    adamw(&step, tensors, &vector());
}

#[test]
fn sizes_change_neither_launches_nor_kernels() {
    let mut kernels = BTreeSet::new();
    for (name, bounds, work) in OPERATIONS {
        for (gradient, bound) in [false, true].into_iter().zip(bounds) {
            let at = |size| launches(|| work(size, gradient));
            let first = at(2);
            println!("{name}, gradient {gradient}: {} launches", first.len());
            assert!((1..=bound).contains(&first.len()), "{name}: {first:?}");
            for size in [7, 33, 300] {
                assert_eq!(at(size), first, "{name} at {size}");
            }
            kernels.extend(first);
        }
    }
    println!("{} kernels", kernels.len());
    assert!(kernels.len() <= KERNELS, "{kernels:#?}");

    // By all that names a kernel to the compiler: its formats, constants and cubes.
    let first = compiled(5);
    assert_eq!(first.len(), 6);
    for size in [1, 64, 271] {
        assert_eq!(compiled(size), first, "{size}");
    }
}

/// The kernels that operations launch at a size, of which burn's own, which differ by sizes, have no
/// part.
fn compiled(size: usize) -> BTreeSet<u128> {
    let norm = tracked_norm(size, false);
    norm.gamma.val();
    let (x, half) = (matrix(size, size), 4);
    let [queries, qkv] = [32, 48].map(|columns| matrix(size, columns));
    let own = [(); 2].map(|()| matrix(size, 16).reshape([1, size, 16]));
    let attention = SelfAttention {
        rotation: RotationTable::new(&vec![0.5; size * half], half),
        runs: Runs::new(vec![size]),
        heads: 2,
    };
    // Burn makes the tables of a rotation, once.
    attention.apply(qkv.clone());
    let launched = LaunchedKernels::new();
    let x = rms_norm(&norm, x);
    let x = silu_mul(x.clone(), x);
    let x = Gelu::Exact.apply(x);
    masked_softmax(x, Mask::Full);
    let segment = Segment {
        groups: 1,
        rows: 1,
        len: size,
        prefix: None,
        own: &own,
        own_len: size,
    };
    attend(heads(), &[segment], queries);
    attention.apply(qkv);
    launched.finish().into_iter().collect()
}
