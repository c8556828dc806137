//! Row by row against what the paper's reference code computes.
#![allow(
    clippy::print_stdout,
    reason = "the counts of cases are this test's report"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use visrl_core::{Example, ImageSource};
use visrl_reward::rules::{
    AdaptiveFormat, CvBenchScore, ExactCompletion, LenientEvaluation, ReferenceTagAccuracy,
    SatAccuracy, ThinkAnswerFormat,
};
use visrl_reward::tags::{cv_bench_answer, evaluation_answer};
use visrl_reward::{RewardRule, Rule};

/// The rows with this column of all JSON lines files in the fixtures' folder `rewards`. None only
/// if other fixtures than the vendored ones lack the folder, or have no such rows in it.
fn rows(column: &str) -> Option<Vec<Value>> {
    let given = std::env::var_os("VISRL_FIXTURES");
    let vendored = given.is_none();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.join(given.unwrap_or_else(|| "tests/fixtures".into()));
    let folder = root.join("rewards");
    if !folder.is_dir() && !vendored {
        println!("{}: no rewards among these fixtures", root.display());
        return None;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for (index, line) in text
            .split('\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
        {
            let row: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), index + 1));
            all.push(row);
        }
    }
    assert!(
        !all.is_empty(),
        "{}: no rows in any *.jsonl",
        folder.display()
    );
    let rows: Vec<Value> = all
        .into_iter()
        .filter(|row| row.get(column).is_some())
        .collect();
    println!("{}: {} rows with `{column}`", folder.display(), rows.len());
    assert!(
        !(vendored && rows.is_empty()),
        "the vendored rows with `{column}` are gone"
    );
    (!rows.is_empty()).then_some(rows)
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column]
        .as_str()
        .unwrap_or_else(|| panic!("no text in column {column}: {row}"))
}

fn example(label: &str, choices: Vec<String>) -> Example {
    Example {
        id: "fixture".into(),
        image: ImageSource::path("none.png"),
        question: String::new(),
        choices,
        label: label.into(),
        row: Default::default(),
    }
}

#[test]
fn rewards_are_the_references() {
    let Some(rows) = rows("completion") else {
        return;
    };
    let rules: [(&str, &str, Rule); 8] = [
        (
            "think_accuracy_string_only",
            "solution",
            ReferenceTagAccuracy::default().into(),
        ),
        (
            "open_pets_think_accuracy_string_only",
            "solution",
            ReferenceTagAccuracy { underscore: true }.into(),
        ),
        (
            "sat_think_accuracy_string_only",
            "solution",
            SatAccuracy::default().into(),
        ),
        ("format", "solution", ThinkAnswerFormat::default().into()),
        (
            "nothink_accuracy",
            "solution",
            ExactCompletion::default().into(),
        ),
        (
            "open_pets_nothink_accuracy",
            "solution",
            ExactCompletion { underscore: true }.into(),
        ),
        (
            "sat_nothink_accuracy",
            "solution",
            ExactCompletion::default().into(),
        ),
        (
            "eval_correct",
            "eval_label",
            LenientEvaluation::default().into(),
        ),
    ];
    for (column, label, rule) in &rules {
        let mut right = 0;
        for row in &rows {
            let want = row[*column]
                .as_f64()
                .unwrap_or_else(|| panic!("no {column}: {row}"));
            let got = rule.score(
                text(row, "completion"),
                &example(text(row, label), Vec::new()),
            );
            assert_eq!(got, Some(want as f32), "{column} by {}: {row}", rule.name());
            right += usize::from(want == 1.0);
        }
        println!(
            "{column} = {}: {} rows, {right} of them 1",
            rule.name(),
            rows.len()
        );
    }
    for row in &rows {
        let completion = text(row, "completion");
        assert_eq!(
            evaluation_answer(completion),
            text(row, "eval_extracted"),
            "{row}"
        );
        // Whatever thinks and answers also has one of the adaptive forms.
        let format = row["format"].as_f64().map(|score| score as f32);
        let adaptive = AdaptiveFormat::default().score(completion, &example("", Vec::new()));
        assert!(adaptive >= format, "{row}");
    }
    println!("eval_extracted: {} rows", rows.len());
}

/// The reference asks `math_verify` before it compares strings. That step is left out on purpose;
/// here is every row on which it matters.
#[test]
fn what_math_verify_adds_is_the_only_difference() {
    let Some(rows) = rows("completion") else {
        return;
    };
    let columns: [(&str, Rule); 3] = [
        ("think_accuracy", ReferenceTagAccuracy::default().into()),
        (
            "open_pets_think_accuracy",
            ReferenceTagAccuracy { underscore: true }.into(),
        ),
        ("sat_think_accuracy", SatAccuracy::default().into()),
    ];
    for (column, rule) in &columns {
        let mut differences = 0;
        for row in &rows {
            let want = row[*column]
                .as_f64()
                .unwrap_or_else(|| panic!("no {column}: {row}"));
            let label = example(text(row, "solution"), Vec::new());
            let got = rule.score(text(row, "completion"), &label).unwrap();
            if f64::from(got) != want {
                let string_only = row[format!("{column}_string_only")].as_f64();
                assert_eq!(
                    (want, string_only),
                    (1.0, Some(0.0)),
                    "not math_verify's: {row}"
                );
                differences += 1;
                println!("{column}: {} = {}", row["completion"], row["solution"]);
            }
            if *column == "think_accuracy" {
                let known = row["math_verify_only"].as_bool();
                assert_eq!(known, Some(f64::from(got) != want), "{row}");
            }
        }
        println!(
            "{column}: {} rows, {differences} of them right by math_verify only",
            rows.len()
        );
    }
}

#[test]
fn cv_bench_is_the_references() {
    let Some(rows) = rows("response") else {
        return;
    };
    let mut right = 0;
    for row in &rows {
        let response = text(row, "response");
        let choices: Vec<String> = serde_json::from_value(row["choices"].clone()).unwrap();
        let short = cv_bench_answer(response);
        assert_eq!(short, text(row, "short_response"), "{row}");
        let parsed = CvBenchScore::parse(short, &choices);
        // The reference keeps what it parsed and, at the end, the same as written.
        let want = row["parsed"].as_array().unwrap().last();
        assert_eq!(
            parsed.as_ref().map(|option| option.text()),
            want.map(|want| want.as_str().unwrap()),
            "{row}"
        );
        let score = CvBenchScore::default().score(response, &example(text(row, "answer"), choices));
        assert_eq!(
            score,
            row["correct"].as_f64().map(|score| score as f32),
            "{row}"
        );
        right += usize::from(score == Some(1.0));
    }
    println!("cv_bench: {} rows, {right} of them 1", rows.len());
}
