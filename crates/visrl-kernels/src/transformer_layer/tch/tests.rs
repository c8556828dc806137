//! The layer beside its plain form.

use burn::tensor::Tensor;

use crate::gelu::Gelu;
use crate::heads::Heads;
use crate::libtorch::testing::{compare_within, device};
use crate::rotary::RotationTable;
use crate::self_attention::{Runs, SelfAttention};
use crate::testing::{matrix, numbers};
use crate::transformer_layer::attention::{LayerAttention, PromptsAttention};
use crate::transformer_layer::op::TransformerLayer;
use crate::transformer_layer::plain;
use crate::transformer_layer::prompts_with_rows::{PromptRows, PromptsWithRows};
use crate::transformer_layer::weights::{
    FeedForward, LayerWeights, LinearWeights, NormWeights, Projections,
};

/// Rows, columns and the size of their numbers.
type Shape = (usize, usize, f32);

fn norm(width: usize, layer_norm: bool) -> NormWeights<Shape> {
    NormWeights {
        gamma: (1, width, 1.0),
        beta: layer_norm.then_some((1, width, 0.5)),
    }
}

fn linear(from: usize, to: usize, scale: f32, bias: bool) -> LinearWeights<Shape, Shape> {
    LinearWeights {
        weight: (from, to, scale),
        bias: bias.then_some((1, to, 0.5)),
    }
}

/// The layer on states and `N - 1` weights of these shapes.
fn check<const N: usize>(
    tokens: usize,
    hidden: usize,
    op: impl Fn() -> TransformerLayer,
    shapes: LayerWeights<Shape, Shape>,
) {
    let (parts, list) = shapes.into_list();
    assert_eq!(list.len(), N - 1);
    let mut shapes = vec![(tokens, hidden, 2.0)];
    shapes.extend(list);
    let weights = |list: &[Tensor<2>]| {
        let weights = parts.of_list(list.iter().cloned());
        weights.map(|matrix| matrix, |vector: Tensor<2>| vector.squeeze_dim(0))
    };
    compare_within::<N>(
        [2e-5, 0.1],
        shapes.try_into().unwrap(),
        7,
        |all| op().apply(all[0].clone(), weights(&all[1..])),
        |all| plain::layer(&op(), all[0].clone(), weights(&all[1..])),
    );
}

/// Layers of a decoder, with biases of queries, keys and values and with norms of heads.
fn check_decoder<const N: usize>(biases: bool, head_norms: bool) {
    let one = |groups, prompt, rows, len| PromptRows {
        groups,
        prompt,
        rows,
        len,
    };
    let cases = [
        (4, 2, vec![one(2, 5, 3, 4), one(1, 3, 2, 2)]),
        (3, 1, vec![one(1, 9, 1, 1)]),
        (2, 2, vec![one(3, 1, 2, 3)]),
    ];
    for (query, kv, segments) in cases {
        let heads = Heads { query, kv, dim: 8 };
        let (hidden, inner, all, width) = (12, 20, query * 8, kv * 8);
        let tokens = PromptsWithRows::new(segments.clone());
        let rows: usize = segments.iter().map(PromptRows::row_tokens).sum();
        let tokens = tokens.prompt_tokens() + rows;
        // Masks and tables stay on the device that asked first.
        let op = || TransformerLayer {
            attention: LayerAttention::Prompts(PromptsAttention {
                heads,
                rotation: RotationTable::new(&numbers(3, tokens * 4, 20.0), 4),
                tokens: PromptsWithRows::new(segments.clone()),
            }),
            epsilon: 1e-6,
        };
        let shapes = LayerWeights {
            norms: [norm(hidden, false), norm(hidden, false)],
            projections: Projections::Apart(
                [all, width, width].map(|to| linear(hidden, to, 0.5, biases)),
            ),
            head_norms: head_norms.then_some([(1, 8, 1.0); 2]),
            output: linear(all, hidden, 0.3, false),
            feed_forward: FeedForward::Gated([
                linear(hidden, inner, 0.5, false),
                linear(hidden, inner, 0.5, false),
                linear(inner, hidden, 0.3, false),
            ]),
        };
        check::<N>(tokens, hidden, op, shapes);
    }
}

#[test]
fn layers_of_decoders_equal_the_plain_form() {
    check_decoder::<10>(false, false);
    check_decoder::<12>(false, true);
    check_decoder::<13>(true, false);
    check_decoder::<15>(true, true);
    assert!(TransformerLayer::has_form(&matrix(1, 2, 2, 1.0, &device())));
}

#[test]
fn blocks_of_vision_towers_equal_the_plain_form() {
    for (heads, sizes) in [
        (2, vec![4, 4, 6]),
        (1, vec![1]),
        (3, vec![5, 5]),
        (2, vec![4, 4, 2, 3, 4]),
    ] {
        let tokens: usize = sizes.iter().sum();
        let (width, inner) = (heads * 8, 20);
        let op = || TransformerLayer {
            attention: LayerAttention::Runs(SelfAttention {
                rotation: RotationTable::new(&numbers(3, tokens * 4, 20.0), 4),
                runs: Runs::new(sizes.clone()),
                heads,
            }),
            epsilon: 1e-6,
        };
        let shapes = |layer_norms: bool, feed_forward| LayerWeights {
            norms: [norm(width, layer_norms), norm(width, layer_norms)],
            projections: Projections::Joined(linear(width, 3 * width, 0.5, true)),
            head_norms: None,
            output: linear(width, width, 0.4, true),
            feed_forward,
        };
        let [first, second] = [
            linear(width, inner, 0.5, true),
            linear(inner, width, 0.4, true),
        ];
        for activation in [Gelu::Quick, Gelu::Tanh] {
            let layers = [first.clone(), second.clone()];
            let feed_forward = FeedForward::Plain(activation, layers);
            check::<13>(tokens, width, op, shapes(true, feed_forward));
        }
        let gated = FeedForward::Gated([first.clone(), first, second]);
        check::<13>(tokens, width, op, shapes(false, gated));
    }
}
