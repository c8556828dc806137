//! The CPU's kernels against the same in burn's tensor operations, forward and with the gradient,
//! at the sizes of a 33 M-parameter model on images of 384 pixels.

use std::hint::black_box;

use burn::nn::RmsNormConfig;
use burn::tensor::activation::{sigmoid, silu, softmax};
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use visrl::kernels::{Gelu, Mask, RotationTable, masked_softmax, rms_norm, silu_mul};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Times a function of `N` tensors, untracked and with a backward pass.
fn both<const D: usize, const N: usize>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    inputs: &[Tensor<D>; N],
    f: impl Fn([Tensor<D>; N]) -> Tensor<D>,
) {
    group.bench_function(format!("{name}/forward"), |b| {
        b.iter(|| black_box(f(black_box(inputs.clone()))));
    });
    group.bench_function(format!("{name}/with_gradient"), |b| {
        b.iter(|| {
            let inputs = inputs.clone().map(|x| x.autodiff().require_grad());
            let gradients = f(inputs.clone()).sum().backward();
            black_box(inputs.map(|x| x.grad(&gradients)));
        });
    });
}

fn kernels(c: &mut Criterion) {
    let scores = [random([1, 4, 784, 784])];
    let mut group = c.benchmark_group("softmax_4x784x784");
    both(&mut group, "kernel", &scores, |[x]| {
        masked_softmax(x, Mask::Full)
    });
    both(&mut group, "plain", &scores, |[x]| softmax(x, 3));
    group.finish();

    let halves = [(); 2].map(|()| random([384, 1408]));
    let mut group = c.benchmark_group("silu_mul_384x1408");
    both(&mut group, "kernel", &halves, |[gate, up]| {
        silu_mul(gate, up)
    });
    both(&mut group, "plain", &halves, |[gate, up]| silu(gate) * up);
    group.finish();

    let inner = [random([784, 1024])];
    let mut group = c.benchmark_group("quick_gelu_784x1024");
    both(&mut group, "kernel", &inner, |[x]| Gelu::Quick.apply(x));
    both(&mut group, "plain", &inner, |[x]| {
        x.clone() * sigmoid(x * 1.702)
    });
    group.finish();

    let hidden = [random([384, 512])];
    let norm = RmsNormConfig::new(512).init(&Device::flex());
    let tracked = RmsNormConfig::new(512).init(&Device::flex().autodiff());
    let of = |x: &Tensor<2>| if x.is_autodiff() { &tracked } else { &norm };
    let mut group = c.benchmark_group("rms_norm_384x512");
    both(&mut group, "kernel", &hidden, |[x]| rms_norm(of(&x), x));
    both(&mut group, "plain", &hidden, |[x]| of(&x).forward(x));
    group.finish();

    let angles: Vec<f32> = (0..384 * 32).map(|i| i as f32 * 0.01).collect();
    let turn = RotationTable::new(&angles, 32);
    let table = |f: fn(f32) -> f32| {
        let angles: Vec<f32> = angles
            .chunks(32)
            .flat_map(|row| [row, row])
            .flatten()
            .map(|&x| f(x))
            .collect();
        Tensor::<1>::from_floats(angles.as_slice(), &Device::flex()).reshape([384, 1, 64])
    };
    let (cos, sin) = (table(f32::cos), table(f32::sin));
    let mut group = c.benchmark_group("rotary_384x512");
    both(&mut group, "kernel", &hidden, |[x]| turn.apply(x));
    both(&mut group, "plain", &hidden, |[x]| {
        let lift = |t: &Tensor<3>| {
            if x.is_autodiff() {
                t.clone().autodiff()
            } else {
                t.clone()
            }
        };
        let (cos, sin) = (lift(&cos), lift(&sin));
        let x = x.reshape([384, 8, 64]);
        let right = x.clone().narrow(2, 32, 32);
        let turned = Tensor::cat(vec![right.neg(), x.clone().narrow(2, 0, 32)], 2);
        (x * cos + turned * sin).reshape([384, 512])
    });
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
