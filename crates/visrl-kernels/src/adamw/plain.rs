//! The step by burn's rule, in tensor operations.

use burn::optim::{AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::Tensor;

use super::op::{AdamWStep, AdamWTensors};

pub(super) fn adamw(step: &AdamWStep, tensors: AdamWTensors, gradient: &Tensor<1>) -> AdamWTensors {
    let AdamWTensors {
        values,
        first,
        second,
    } = tensors;
    let rule = AdamWConfig::new()
        .with_beta_1(step.betas[0])
        .with_beta_2(step.betas[1])
        .with_epsilon(step.epsilon)
        .with_weight_decay(step.weight_decay)
        .build();
    let before = AdaptiveMomentumState::new(step.time.saturating_sub(1), first, second);
    let before = AdamWState::new(before);
    let (values, after) = rule.step(
        step.learning_rate,
        values,
        gradient.clone(),
        Some(before.clone()),
    );
    let AdamWState { momentum } = after.unwrap_or(before);
    AdamWTensors {
        values,
        first: momentum.moment_1,
        second: momentum.moment_2,
    }
}
