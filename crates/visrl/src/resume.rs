//! Where a run begins: at step 0, or after the newest checkpoint, if that is of the same run.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use visrl_train::{Checkpoint, CheckpointStore, Decay, JsonLines, LearningRateSchedule, Warnings};

use crate::before_after::Measured;
use crate::error::Error;
use crate::samples::SampleLog;

/// The checkpoint that a run goes on from, if it is to go on from one and there is one.
pub(crate) fn find(store: &CheckpointStore, resume: bool) -> Result<Option<Checkpoint>, Error> {
    match resume {
        true => Ok(store.latest()?),
        false => Ok(None),
    }
}

/// What stands beside the checkpoints of a run whose base measured `before`.
pub(crate) fn note(config: &Value, before: &Measured) -> Value {
    serde_json::json!({ "config": config, "before": before })
}

/// What a run that goes on from a checkpoint has already.
pub(crate) struct Resumed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) before: Measured,
    /// Whether the samples of the checkpoint's step were written at an evaluation on the way.
    pub(crate) sampled: bool,
}

impl Resumed {
    /// Checks that a run of `steps` with these settings, `config`, can go on from a checkpoint in
    /// the folder `out`; evaluations on the way are made `on_test` examples. Nothing is changed.
    pub(crate) fn new(
        checkpoint: Checkpoint,
        config: &Value,
        (out, on_test, steps): (&Path, bool, usize),
    ) -> Result<Self, Error> {
        let state = &checkpoint.state;
        if let Some(difference) = settings_diff(&state.note["config"], config) {
            let message = format!(
                "was made with another {difference}: resume with what it was made with, or begin a run of its own"
            );
            return Err(Error::file(checkpoint.dir, message));
        }
        if steps < state.step {
            let name = match config["fine_tune"]["epochs"].as_u64() {
                Some(0) | None => "steps",
                Some(_) => "epochs",
            };
            let message = format!(
                "asks for {steps} steps, but {} has made {} already: ask for as many at least",
                checkpoint.dir.display(),
                state.step
            );
            return Err(Error::setting(format!("fine_tune.{name}"), message));
        }
        let before = Measured::deserialize(&state.note["before"])
            .map_err(|error| Error::file(&checkpoint.dir, format!("note: {error}")))?;
        let sampled = on_test && state.evaluations.iter().any(|p| p.step == state.step);
        JsonLines::check(out.join("metrics.jsonl"), state.step)?;
        let count = config["fine_tune"]["samples"].as_u64().unwrap_or(0) as usize;
        let evaluated = state.evaluations.iter().filter(|_| on_test);
        let evaluated: Vec<_> = [0].into_iter().chain(evaluated.map(|p| p.step)).collect();
        let count = count.min(before.greedy.examples);
        SampleLog::check(out, count, &evaluated, (state.step, sampled))?;
        Ok(Self {
            checkpoint,
            before,
            sampled,
        })
    }

    /// Tells where the learning rate now falls to its end elsewhere than it did, and notes the new
    /// settings for the checkpoints to come.
    pub(crate) fn follow(
        &mut self,
        config: &Value,
        schedule: [LearningRateSchedule; 2],
        warnings: &Warnings,
    ) {
        let [old, new] = schedule;
        let step = self.checkpoint.state.step;
        if old.decay != Decay::Constant && old.total_steps != new.total_steps {
            let message = format!(
                "the run is of {} steps now, it was of {}: from step {step} on the learning rate is \
                 that of a run of {} steps ({:.2e} in place of {:.2e} in the next one)",
                new.total_steps,
                old.total_steps,
                new.total_steps,
                new.at(step),
                old.at(step)
            );
            warnings.warn(&format!("{} steps", new.total_steps), message);
        }
        self.checkpoint.state.note["config"] = config.clone();
    }
}

/// The part of a run's file that stands nowhere else in the record of a run.
pub(crate) fn of_file(mut file: Value) -> Value {
    if let Value::Object(fields) = &mut file {
        for elsewhere in ["version", "recipe", "fine_tune"] {
            fields.shift_remove(elsewhere);
        }
    }
    file
}

/// Settings that may change when a run is resumed: they do not change what is learnt and measured,
/// but for the number of steps, which may grow.
const FREE: [&str; 22] = [
    "model",
    "data",
    "asks",
    "fine_tune.steps",
    "fine_tune.epochs",
    "fine_tune.engine",
    "fine_tune.remote.url",
    "fine_tune.remote.weights",
    "fine_tune.remote.weights_on_server",
    "fine_tune.remote.max_requests",
    "fine_tune.remote.timeout",
    "fine_tune.remote.patience",
    "fine_tune.out",
    "fine_tune.budget_seconds",
    "fine_tune.checkpoint_every",
    "fine_tune.keep_checkpoints",
    "fine_tune.tensorboard",
    "fingerprint.file.device",
    "fingerprint.file.model.adapter",
    "fingerprint.file.model.path",
    "fingerprint.file.data.source.path",
    "fingerprint.file.test.source.path",
];

/// The first field, with dots between levels, in which two runs' settings differ so that one
/// cannot go on with the other's checkpoint, and its two values.
fn settings_diff(old: &Value, new: &Value) -> Option<String> {
    differ("", old, new)
}

fn differ(path: &str, old: &Value, new: &Value) -> Option<String> {
    let of_code = path == "fingerprint.file" && (old.is_null() || new.is_null());
    if old == new || FREE.contains(&path) || of_code {
        return None;
    }
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    let null = Value::Null;
    let side = |side: Option<&'_ Value>| side.cloned().unwrap_or(null.clone());
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let more = new.keys().filter(|name| !old.contains_key(*name));
            let mut names = old.keys().chain(more);
            names.find_map(|name| {
                let (old, new) = (side(old.get(name)), side(new.get(name)));
                differ(&below(name), &old, &new)
            })
        }
        (Value::Array(old), Value::Array(new)) => {
            let mut places = 0..old.len().max(new.len());
            places.find_map(|place| {
                let (old, new) = (side(old.get(place)), side(new.get(place)));
                differ(&below(&place.to_string()), &old, &new)
            })
        }
        _ => {
            let name = path.strip_prefix("fingerprint.").unwrap_or(path);
            let name = name.strip_prefix("file.").unwrap_or(name);
            Some(format!("`{name}` ({}, now {})", short(old), short(new)))
        }
    }
}

/// A value as it stands in a message.
fn short(value: &Value) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run_config::RunConfig;

    #[test]
    fn the_field_that_differs_is_named() {
        let old = json!({"fine_tune": {"seed": 1, "out": "a", "lora": {"r": 4}}, "loss": "m"});
        let change = |path: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(path).unwrap() = value;
            settings_diff(&old, &new)
        };
        assert_eq!(settings_diff(&old, &old), None);
        assert_eq!(change("/fine_tune/out", json!("b")), None);
        assert_eq!(
            change("/fine_tune/seed", json!(2)).as_deref(),
            Some("`fine_tune.seed` (1, now 2)")
        );
        assert_eq!(
            change("/fine_tune/lora", Value::Null).as_deref(),
            Some(r#"`fine_tune.lora` ({"r":4}, now null)"#)
        );
        let loss = change("/loss", json!("n"));
        assert_eq!(loss.as_deref(), Some(r#"`loss` ("m", now "n")"#));
        let more = json!({"fine_tune": old["fine_tune"], "loss": "m", "recipe": 1});
        let added = settings_diff(&old, &more);
        assert_eq!(added.as_deref(), Some("`recipe` (null, now 1)"));
        let rules = |name: &str| json!({ "rewards": [{ "rule": { "name": name } }] });
        let renamed = settings_diff(&rules("brief"), &rules("short"));
        let renamed = renamed.unwrap();
        assert_eq!(renamed, r#"`rewards.0.rule.name` ("brief", now "short")"#);
    }
    /// Every field of a run's file, one at a time: it is either free, or a resume with another value
    /// is refused by its name.
    #[test]
    fn no_field_of_a_run_s_file_is_forgotten() {
        let text = r#"
            recipe = "cls_rl"
            device = "flex"
            model = { path = "m", adapter = "a", load = { dtype = "bf16" } }

            [data]
            shots = 4
            shot_seed = 1
            classes = "base"
            source = { kind = "coop", set = "oxford_pets", path = "d" }

            [test]
            shots = 2
            source = { kind = "json_lines", path = "t", options = { question = "?" } }

            [fine_tune]
            lora = { r = 4 }
            budget_seconds = 1.0
        "#;
        let run = RunConfig::from_toml(text).unwrap();
        let old = record(&run, &serde_json::to_value(&run).unwrap());
        assert_eq!(settings_diff(&old, &old), None);
        let mut leaves = Vec::new();
        paths("", &serde_json::to_value(&run).unwrap(), &mut leaves);
        assert!(leaves.len() > 60, "{leaves:?}");
        let mut free = Vec::new();
        for pointer in leaves {
            let mut file = serde_json::to_value(&run).unwrap();
            *file.pointer_mut(&pointer).unwrap() = json!("another");
            let name = pointer[1..].replace('/', ".");
            match settings_diff(&old, &record(&run, &file)) {
                Some(difference) => assert!(
                    difference.starts_with(&format!("`{name}` (")),
                    "{difference}"
                ),
                None => free.push(name),
            }
        }
        free.sort();
        let expected = [
            "data.source.path",
            "device",
            "fine_tune.budget_seconds",
            "fine_tune.checkpoint_every",
            "fine_tune.epochs",
            "fine_tune.keep_checkpoints",
            "fine_tune.out",
            "fine_tune.steps",
            "fine_tune.tensorboard",
            "model.adapter",
            "model.path",
            "test.source.path",
        ];
        assert_eq!(free, expected);
    }

    /// What a checkpoint notes of a run with this file.
    fn record(run: &RunConfig, file: &Value) -> Value {
        let mut config = json!({ "fine_tune": run.fine_tune, "recipe": run.recipe });
        config["fine_tune"] = file["fine_tune"].clone();
        config["recipe"] = file["recipe"].clone();
        config["fingerprint"] = json!({ "file": of_file(file.clone()) });
        config
    }

    fn paths(at: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    paths(&format!("{at}/{name}"), value, found);
                }
            }
            Value::Array(values) if !values.is_empty() => {
                for (place, value) in values.iter().enumerate() {
                    paths(&format!("{at}/{place}"), value, found);
                }
            }
            _ => found.push(at.to_owned()),
        }
    }
}
