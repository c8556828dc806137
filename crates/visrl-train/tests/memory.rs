//! Batches that ask nothing of the policy leave nothing behind: a forward pass that records
//! gradients and is never differentiated would stay in memory.

#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;

use common::{GroupShape, device, group, models, rng};
use visrl_grpo::{GrpoLoss, ReferenceRefresh, SharedOptions};
use visrl_train::{Learner, LearnerConfig};
use visrl_vlm::{FeatureStore, QwenVl};

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1024.0
}

/// Growth in MB over 300 updates on equal rewards.
fn growth(terms: SharedOptions, config: LearnerConfig) -> f64 {
    let model = QwenVl::from_dir(&models()[0], &device()).unwrap();
    let shape = GroupShape {
        text: 8,
        images: vec![[2, 2]],
        completions: vec![5, 3],
    };
    let mut same = group(&model, &shape, &mut rng(1));
    same.advantages.fill(0.0);
    let loss = GrpoLoss {
        terms,
        ..GrpoLoss::default()
    };
    let features = Arc::new(FeatureStore::new(0));
    let mut learner = Learner::new(model, Box::new(loss), features, config);
    let mut update = |count| {
        for _ in 0..count {
            learner.update(std::slice::from_ref(&same), 1e-4).unwrap();
        }
    };
    update(50);
    let before = resident_mb();
    update(300);
    resident_mb() - before
}

#[test]
fn equal_rewards_leave_nothing_behind() {
    let off = SharedOptions {
        beta: 0.0,
        ..SharedOptions::default()
    };
    let grown = growth(off, LearnerConfig::default());
    assert!(grown < 16.0, "no KL term: {grown} MB");
    // The reference is the policy: the KL term's gradient is exactly zero, too.
    let grown = growth(
        SharedOptions::default(),
        LearnerConfig {
            reference_refresh: ReferenceRefresh {
                every: Some(1),
                ..ReferenceRefresh::default()
            },
            ..LearnerConfig::default()
        },
    );
    assert!(grown < 16.0, "KL term: {grown} MB");
}
