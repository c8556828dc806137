//! Whether two runs are the same run.

use serde_json::Value;

/// Settings that may change when a run is resumed: none of them changes what is learnt.
const FREE: [&str; 5] = [
    "fine_tune.out",
    "fine_tune.budget_seconds",
    "fine_tune.checkpoint_every",
    "fine_tune.keep_checkpoints",
    "fine_tune.tensorboard",
];

/// The first field, with dots between levels, in which two runs' settings differ so that one
/// cannot go on with the other's checkpoint.
pub(crate) fn settings_diff(old: &Value, new: &Value) -> Option<String> {
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
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(path.to_owned());
    };
    let names = old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)));
    let null = Value::Null;
    let mut found = names.filter_map(|name| {
        let side = |side: &'_ serde_json::Map<String, Value>| side.get(name).cloned();
        let (old, new) = (side(old), side(new));
        differ(
            &below(name),
            old.as_ref().unwrap_or(&null),
            new.as_ref().unwrap_or(&null),
        )
    });
    found.next()
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
            Some("fine_tune.seed")
        );
        assert_eq!(
            change("/fine_tune/lora", Value::Null).as_deref(),
            Some("fine_tune.lora")
        );
        assert_eq!(change("/model", json!("n")).as_deref(), Some("model"));
        let more = json!({"fine_tune": old["fine_tune"], "model": "m", "recipe": 1});
        assert_eq!(settings_diff(&old, &more).as_deref(), Some("recipe"));
    }
}
