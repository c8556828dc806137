//! Damaged run files: each is a run or an error, never a panic, and a file is changed by none that
//! is refused.
#![allow(clippy::print_stdout)]

mod common;

use std::fs;
use std::path::Path;

use common::{contents, root};
use toml::{Table, Value};
use visrl::{Registry, RunConfig};
use visrl_testing::fuzz::mutate::{Rng, bytes};

const CASES: u64 = 10_000;
/// Of the files that are runs, so many are made ready with model and data.
const CHECKED: usize = 150;

/// A run that sets much, in the folder of an earlier one.
fn whole(out: &Path) -> String {
    format!(
        r#"recipe = "cls_rl"
device = "flex"
model = {{ path = {:?}, load = {{ dtype = "f32" }} }}

[data]
shots = 1
shot_seed = 3
classes = "all"
source = {{ kind = "drawn_shapes", options = {{ seed = 1, side = 28, train = 2, test = 1, turn = 20.0, noise = 24.0 }} }}

[fine_tune]
seed = 100
steps = 2
epochs = 0
learning_rate = 3e-4
decay = "linear"
prompts_per_step = 2
num_generations = 2
resample_rounds = 0
engine = "native"
advantage = {{ type = "paper", epsilon = 1e-4 }}
lora = {{ r = 2, lora_alpha = 4.0, target_modules = ["q_proj"] }}
choices = {{ kind = "fraction", fraction = 0.5, all_below = 2, at_most = 4 }}
test_per_class = 1
evaluate_every = 1
patience = 1
budget_seconds = 10.0
checkpoint_every = 1
keep_checkpoints = 1
samples = 1
out = {out:?}

[fine_tune.sampling]
temperature = 1.0
top_k = 50
top_p = 1.0
min_p = 0.0
max_new_tokens = 8
stop_strings = ["</answer>"]

[fine_tune.loss]
family = {{ type = "grpo", epsilon = 0.2, delta = 2.0 }}
terms = {{ beta = 0.04, entropy_coef = 0.0, importance_correction = {{ clip_max = 3.0 }} }}

[fine_tune.learner]
adamw = {{ betas = [0.9, 0.999], epsilon = 1e-8, weight_decay = 0.0 }}
parameter_groups = [{{ names = "lora_B", learning_rate = 16.0 }}]
max_grad_norm = 1.0
updates_per_batch = 1
head_chunk = 1024
trainable = {{ vision_tower = false, merger = false, language_model = true }}
reference_refresh = {{ every = 1, mix = {{ type = "constant", value = 1.0 }} }}
"#,
        root().join("assets/base")
    )
}

/// Bytes are damaged, or a number, a text or a name becomes another.
fn damage(rng: &mut Rng, text: &str) -> Vec<u8> {
    const VALUES: [&str; 14] = [
        "0",
        "1",
        "-1",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "1e308",
        "1e-320",
        "9223372036854775807",
        "\"\"",
        "true",
        "[]",
        "{}",
    ];
    if rng.one_in(2) {
        let mut data = text.as_bytes().to_vec();
        bytes(rng, &mut data);
        return data;
    }
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for _ in 0..1 + rng.below(2) {
        let at = rng.below(lines.len());
        let line = lines[at].clone();
        // The value after one of the equals signs of the line.
        let places: Vec<usize> = line
            .match_indices("= ")
            .map(|(place, _)| place + 2)
            .collect();
        match rng.below(6) {
            0 => drop(lines.remove(at)),
            1 => lines.push(line),
            _ if places.is_empty() => {}
            _ => {
                let from = *rng.pick(&places);
                let rest = &line[from..];
                let len = rest.find([',', '}', ']']).unwrap_or(rest.len());
                let value = rng.pick(&VALUES);
                lines[at] = format!("{}{value}{}", &line[..from], &rest[len..]);
            }
        }
    }
    lines.join("\n").into_bytes()
}

#[test]
fn a_damaged_run_file_is_a_run_or_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    fs::create_dir(&out).unwrap();
    // A run's folder has its lock.
    fs::write(out.join(".lock"), "1").unwrap();
    for name in ["run.toml", "config.json", "metrics.jsonl", "summary.json"] {
        fs::write(out.join(name), name).unwrap();
    }
    let mut texts = vec![whole(&out); 4];
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        texts.push(fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    texts.sort();
    RunConfig::from_toml(&whole(&out))
        .unwrap()
        .trainer(&Registry::new())
        .unwrap()
        .check()
        .unwrap();
    let before = contents(dir.path());
    let (mut runs, mut refused, mut ready) = (0, 0, 0);
    for case in 0..CASES {
        let mut rng = Rng::new(3, case);
        let text = rng.pick(&texts).clone();
        let data = damage(&mut rng, &text);
        let Ok(text) = String::from_utf8(data) else {
            refused += 1;
            continue;
        };
        let run = RunConfig::from_toml(&text).and_then(|run| run.validate().map(|()| run));
        let Ok(run) = run else {
            refused += 1;
            continue;
        };
        runs += 1;
        assert!(
            RunConfig::from_toml(&run.to_toml().unwrap()).is_ok(),
            "{text}"
        );
        let small = run.fine_tune.out == out && run.fine_tune.prompts_per_step < 100;
        if small && ready < CHECKED {
            ready += 1;
            let checked = run
                .trainer(&Registry::new())
                .and_then(|trainer| trainer.check());
            if let Err(error) = checked {
                assert!(!error.to_string().is_empty());
            }
        }
        if case % 500 == 0 {
            assert!(
                contents(dir.path()) == before,
                "case {case}: files were changed"
            );
        }
    }
    assert!(contents(dir.path()) == before, "files were changed");
    println!(
        "run files: {runs} of {CASES} are runs, {refused} are refused, {ready} were made ready"
    );
    assert!(
        runs > 500 && refused > 2000 && ready == CHECKED,
        "{runs} {refused} {ready}"
    );
}

/// Every table of a run file, at any depth, refuses a key that it does not know: none is passed over.
#[test]
fn a_key_that_nothing_reads_is_refused_in_every_table() {
    let mut texts = vec![whole(Path::new("runs/x"))];
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let file = entry.unwrap().path();
        texts.push(RunConfig::from_file(file).unwrap().to_toml().unwrap());
    }
    // Enums whose variants take nothing.
    let plain = texts[0]
        .replace("advantage = { type = \"paper\", epsilon = 1e-4 }", "")
        .replace(
            "{ kind = \"fraction\", fraction = 0.5, all_below = 2, at_most = 4 }",
            "{ kind = \"all\" }",
        )
        .replace("dtype = \"f32\"", "pipeline = { type = \"plain\" }");
    texts.push(plain);
    let mut count = 0;
    for text in texts {
        let file: Table = toml::from_str(&text).unwrap();
        let whole = Value::Table(file);
        let tables = tables(&whole);
        for place in tables {
            let mut file = whole.clone();
            let table = place.iter().fold(&mut file, |value, name| match value {
                Value::Array(values) => &mut values[name.parse::<usize>().unwrap()],
                value => value.get_mut(name).unwrap(),
            });
            let table = table.as_table_mut().unwrap();
            table.insert("unread".into(), Value::Integer(1));
            let text = toml::to_string(&file).unwrap();
            let error = RunConfig::from_toml(&text).map(drop).unwrap_err();
            assert!(error.to_string().contains("unread"), "{place:?}: {error}");
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

/// Where the tables of a value are.
fn tables(value: &Value) -> Vec<Vec<String>> {
    let below = |name: &str, value: &Value| {
        tables(value)
            .into_iter()
            .map(move |mut path| {
                path.insert(0, name.to_owned());
                path
            })
            .collect::<Vec<_>>()
    };
    match value {
        Value::Table(fields) => {
            let mut found = vec![Vec::new()];
            found.extend(fields.iter().flat_map(|(name, value)| below(name, value)));
            found
        }
        Value::Array(values) => {
            let numbered = values.iter().enumerate();
            numbered
                .flat_map(|(place, value)| below(&place.to_string(), value))
                .collect()
        }
        _ => Vec::new(),
    }
}
