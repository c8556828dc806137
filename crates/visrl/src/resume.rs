//! Where a run begins: at step 0, or after the newest checkpoint, if that is of the same run.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use visrl_train::{Checkpoint, CheckpointStore, Start};

use crate::before_after::Measured;
use crate::error::Error;
use crate::samples::SampleLog;

/// The checkpoint that a run goes on from, if it is to go on from one and there is one.
///
/// Without one, checkpoints that are there are removed.
pub(crate) fn find(store: &CheckpointStore, resume: bool) -> Result<Option<Checkpoint>, Error> {
    let found = match resume {
        true => store.latest()?,
        false => None,
    };
    match found {
        Some(_) => store.sweep()?,
        None => store.clear()?,
    }
    Ok(found)
}

/// What stands beside the checkpoints of a run whose base measured `before`.
pub(crate) fn note(config: &Value, before: &Measured) -> Value {
    serde_json::json!({ "config": config, "before": before })
}

/// What a run that goes on from a checkpoint has already.
pub(crate) struct Resumed {
    pub(crate) start: Start,
    pub(crate) before: Measured,
    pub(crate) samples: SampleLog,
}

/// Goes on from a checkpoint of a run with these settings, `config`; `count` samples were written
/// at an evaluation, and those on the way were made `on_test` examples.
pub(crate) fn go_on(
    checkpoint: Checkpoint,
    config: &Value,
    (out, count, on_test): (&Path, usize, bool),
) -> Result<Resumed, Error> {
    let state = &checkpoint.state;
    if let Some(difference) = settings_diff(&state.note["config"], config) {
        let message = format!("was made with another {difference}: resume with its settings");
        return Err(Error::file(checkpoint.dir, message));
    }
    let before = Measured::deserialize(&state.note["before"])
        .map_err(|error| Error::file(&checkpoint.dir, format!("note: {error}")))?;
    let evaluated = on_test && state.evaluations.iter().any(|p| p.step == state.step);
    let samples = SampleLog::resume(out, count, state.step, evaluated)?;
    Ok(Resumed {
        start: Start::From(Box::new(checkpoint)),
        before,
        samples,
    })
}

/// Settings that may change when a run is resumed: none of them changes what is learnt.
const FREE: [&str; 5] = [
    "fine_tune.out",
    "fine_tune.budget_seconds",
    "fine_tune.checkpoint_every",
    "fine_tune.keep_checkpoints",
    "fine_tune.tensorboard",
];

/// The first field, with dots between levels, in which two runs' settings differ so that one
/// cannot go on with the other's checkpoint, and its two values.
fn settings_diff(old: &Value, new: &Value) -> Option<String> {
    differ("", old, new)
}

fn differ(path: &str, old: &Value, new: &Value) -> Option<String> {
    if old == new || FREE.contains(&path) {
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
        _ => Some(format!("`{path}` ({old}, now {new})")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_that_differs_is_named() {
        let old = json!({"fine_tune": {"seed": 1, "out": "a", "lora": {"r": 4}}, "model": "m"});
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
        let model = change("/model", json!("n"));
        assert_eq!(model.as_deref(), Some(r#"`model` ("m", now "n")"#));
        let more = json!({"fine_tune": old["fine_tune"], "model": "m", "recipe": 1});
        let added = settings_diff(&old, &more);
        assert_eq!(added.as_deref(), Some("`recipe` (null, now 1)"));
        let rules = |name: &str| json!({ "rewards": [{ "rule": { "name": name } }] });
        let renamed = settings_diff(&rules("brief"), &rules("short"));
        let renamed = renamed.unwrap();
        assert_eq!(renamed, r#"`rewards.0.rule.name` ("brief", now "short")"#);
    }
}
