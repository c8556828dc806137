//! A learner that trains nothing, or has a group of parameters without any, is refused by name.

mod common;

use std::sync::Arc;

use common::{GroupShape, device, group, models, rng};
use visrl_grpo::GrpoLoss;
use visrl_train::{Learner, LearnerConfig, NamePattern, ParameterGroup};
use visrl_vlm::{FeatureStore, LoraConfig, QwenVl, TargetModules, Trainable, attach_lora};

const FROZEN: Trainable = Trainable {
    vision_tower: false,
    merger: false,
    language_model: false,
};

fn learner(adapters: bool, config: LearnerConfig) -> Learner<QwenVl> {
    let mut model = QwenVl::from_dir(&models()[0], &device()).unwrap();
    if adapters {
        // Layers of this name are in the language model alone.
        let lora = LoraConfig {
            target_modules: TargetModules::Names(vec!["q_proj".into()]),
            ..LoraConfig::default()
        };
        model = attach_lora(model, &lora, rng(2)).unwrap();
    }
    let features = Arc::new(FeatureStore::new(0));
    Learner::new(model, Box::new(GrpoLoss::default()), features, config)
}

fn of(trainable: Trainable, names: &[&str]) -> LearnerConfig {
    let group = |name: &&str| ParameterGroup {
        names: NamePattern::new(name).unwrap(),
        learning_rate: 0.5,
        ..ParameterGroup::default()
    };
    LearnerConfig {
        trainable,
        parameter_groups: names.iter().map(group).collect(),
        ..LearnerConfig::default()
    }
}

#[test]
fn nothing_to_train_is_an_error_and_no_panic() {
    let tower = Trainable {
        vision_tower: true,
        merger: true,
        ..FROZEN
    };
    for (adapters, trainable) in [(false, FROZEN), (true, FROZEN), (true, tower)] {
        let mut learner = learner(adapters, of(trainable, &[]));
        let shape = GroupShape {
            text: 6,
            images: vec![[1, 2]],
            completions: vec![4; 3],
        };
        let groups = [group(learner.model(), &shape, &mut rng(3))];
        let errors = [
            learner.check().unwrap_err(),
            learner.gradients(&groups, None).unwrap_err(),
            learner.update(&groups, 1e-3).unwrap_err(),
        ];
        for error in errors {
            let error = error.to_string();
            assert!(
                error.starts_with("`trainable` leaves no parameter"),
                "{error}"
            );
        }
    }
    assert!(learner(false, of(tower, &[])).check().is_ok());
    assert!(
        learner(true, of(Trainable::language_model(), &[]))
            .check()
            .is_ok()
    );
}

#[test]
fn a_group_that_holds_no_trained_parameter_is_named() {
    let check = |names: &[&str]| {
        let learner = learner(false, of(Trainable::language_model(), names));
        learner.check().map_err(|error| error.to_string())
    };
    assert_eq!(check(&["mlp", "norm"]), Ok(()));
    for (names, part) in [
        (
            vec!["^nothing$"],
            "group 1 (`^nothing$`) names no parameter",
        ),
        // The tower is frozen.
        (
            vec!["mlp", "^visual"],
            "group 2 (`^visual`) names no parameter",
        ),
        (
            vec!["", "norm"],
            "group 2 (`norm`) names only parameters that belong to groups before",
        ),
    ] {
        let error = check(&names).unwrap_err();
        assert!(
            error.starts_with("`parameter_groups` ") && error.contains(part),
            "{error}"
        );
    }
}
