//! What a report says of each kind of folder.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use visrl_train::{ConfusionMatrix, Evaluation, StepMetrics};

use super::charts::{Cell, Series, curves, legend, map};
use super::page::{AnswerView, Chart, Page, SampleView, Table};
use super::read::{read, read_lines};
use super::waiting::waiting;
use crate::before_after::{Accuracy, BeforeAfter};
use crate::error::Error;
use crate::experiment::{Comparison, ComparisonRow, CrossMatrix, Spread};
use crate::samples::Sample;
use crate::summary::Summary;

/// Steps that a point of a curve is the mean of.
const WINDOW: usize = 10;

/// A run: accuracies, curves, confusion, classes and examples.
pub(super) fn run(page: &mut Page, dir: &Path, summary: &Summary) -> Result<(), Error> {
    page.title = summary.recipe.clone();
    page.subtitle = format!(
        "{} steps in {:.0} s, seed {}, {} test images, {}, right by {}",
        summary.steps,
        summary.seconds,
        summary.seed,
        summary.test_examples,
        summary.evaluation,
        summary.matcher
    );
    let row = |name: &str, a: &Accuracy| {
        vec![
            name.to_owned(),
            percent(a.greedy),
            percent(a.t1),
            percent(a.greedy_lenient),
            percent(a.t1_lenient),
            a.greedy_guided.map_or("-".into(), percent),
            format!("{:.1}", a.completion_length),
        ]
    };
    page.tables.push(Table {
        title: "Accuracy in %".into(),
        head: [
            "",
            "greedy",
            "T = 1",
            "greedy, lenient",
            "T = 1, lenient",
            "guided",
            "tokens",
        ]
        .map(String::from)
        .to_vec(),
        rows: vec![row("before", &summary.before), row("after", &summary.after)],
        note: match &summary.best {
            None => String::new(),
            Some(best) => format!(
                "Best on the way: {} after {} steps, on {}.",
                percent(best.accuracy),
                best.step,
                summary.validated_on
            ),
        },
    });
    page.tables.extend(warnings(summary));
    let metrics: Vec<StepMetrics> = read_lines(&dir.join("metrics.jsonl"))?;
    run_curves(page, &metrics, summary)?;
    page.tables.extend(loss_metrics(&metrics));
    page.tables.extend(waiting(&metrics));
    if let Some(found) = read::<BeforeAfter>(&dir.join("evaluation.json"))? {
        for (when, measured) in [("before", &found.before), ("after", &found.after)] {
            confusion(page, when, &measured.greedy.confusion)?;
        }
        page.tables
            .push(classes(&found.before.greedy, &found.after.greedy));
        if let Some(agreement) = &found.after.greedy.agreement {
            let or = |accuracy: Option<f64>| accuracy.map_or("-".into(), percent);
            page.tables.push(Table {
                title: "Thought and answer, after training".into(),
                head: [
                    "compared",
                    "agree in %",
                    "accuracy where they agree",
                    "where not",
                ]
                .map(String::from)
                .to_vec(),
                rows: vec![vec![
                    agreement.compared.to_string(),
                    percent(agreement.share),
                    or(agreement.accuracy_agreeing),
                    or(agreement.accuracy_other),
                ]],
                note: String::new(),
            });
        }
    }
    samples(page, dir)?;
    page.config = std::fs::read_to_string(dir.join("run.toml")).unwrap_or_default();
    Ok(())
}

/// What the run warned of; nothing where it did not.
fn warnings(summary: &Summary) -> Option<Table> {
    let rows = summary.warnings.iter();
    let rows = rows.map(|warning| vec![warning.message.clone(), warning.step.to_string()]);
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| Table {
        title: "Warnings".into(),
        head: ["", "after steps"].map(String::from).to_vec(),
        rows,
        note: String::new(),
    })
}

fn run_curves(page: &mut Page, metrics: &[StepMetrics], summary: &Summary) -> Result<(), Error> {
    if metrics.is_empty() {
        return Ok(());
    }
    let note = format!("Each point is the mean of up to {WINDOW} steps.");
    let of = |name: &str, value: &dyn Fn(&StepMetrics) -> f64| Series {
        name: name.into(),
        points: smooth(metrics, value),
    };
    let mut learning = Vec::new();
    if metrics.iter().any(|step| !step.rewards.is_empty()) {
        let rules = metrics[0].rewards.iter().enumerate();
        for (at, (name, _)) in rules {
            let score = move |step: &StepMetrics| step.rewards.get(at).map_or(0.0, |rule| rule.1);
            learning.push(of(name, &score));
        }
        learning.push(of("all right", &|step| step.all_right));
        learning.push(of("all wrong", &|step| step.all_wrong));
    }
    if !summary.evaluations.is_empty() {
        learning.push(Series {
            name: format!("accuracy on {}", summary.validated_on),
            points: summary
                .evaluations
                .iter()
                .map(|point| (point.step as f64, point.accuracy))
                .collect(),
        });
    }
    let mut chart = |title: &str, series: &[Series], unit: &str| -> Result<(), Error> {
        if !series.is_empty() {
            page.charts.push(Chart {
                title: title.into(),
                legend: legend(series),
                svg: curves(series, 0.0, unit)?,
                least: 0,
                note: note.clone(),
            });
        }
        Ok(())
    };
    chart("Learning", &learning, "share")?;
    chart(
        "Length of completions",
        &[of("length", &|s| s.completion_length)],
        "tokens",
    )?;
    if learning.is_empty() {
        return chart("Loss", &[of("loss", &|step| step.loss)], "nats per token");
    }
    let entropy = of("entropy", &|step| step.entropy);
    chart(
        "Entropy and KL",
        &[entropy, of("KL to the base", &|step| step.kl)],
        "nats",
    )
}

/// What the loss saw, by name; nothing where no step says it.
fn loss_metrics(metrics: &[StepMetrics]) -> Option<Table> {
    let names: BTreeSet<&String> = metrics.iter().flat_map(|s| s.loss_metrics.keys()).collect();
    let rows = names.into_iter().map(|name| {
        let values = metrics
            .iter()
            .filter_map(|step| step.loss_metrics.get(name));
        let values: Vec<f64> = values.copied().collect();
        let window = values.len().min(WINDOW);
        let show = |value: f64| format!("{value:.4}");
        vec![
            name.clone(),
            show(Spread::of(&values[..window]).mean),
            show(Spread::of(&values[values.len() - window..]).mean),
            show(values.iter().copied().fold(f64::INFINITY, f64::min)),
            show(values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let mut note = format!("First and last are means of up to {WINDOW} steps.");
    let silent = metrics.iter().filter_map(|step| step.diagnosis.as_ref());
    if let Some(last) = silent.clone().next_back() {
        let count = silent.count();
        note += &format!(
            " {count} of {} steps could teach nothing; the last: {last}.",
            metrics.len()
        );
    }
    (!rows.is_empty()).then(|| Table {
        title: "What the loss saw".into(),
        head: ["", "first", "last", "least", "most"]
            .map(String::from)
            .to_vec(),
        rows,
        note,
    })
}

fn confusion(page: &mut Page, when: &str, matrix: &ConfusionMatrix) -> Result<(), Error> {
    let mut columns = matrix.classes.clone();
    columns.push("no choice".into());
    let cells: Vec<Vec<Cell>> = matrix
        .counts
        .iter()
        .enumerate()
        .map(|(row, counts)| {
            let all = counts.iter().sum::<usize>().max(1) as f64;
            let cells = counts.iter().enumerate();
            cells
                .map(|(column, &count)| {
                    let share = count as f64 / all;
                    Cell {
                        text: if count == 0 {
                            String::new()
                        } else {
                            count.to_string()
                        },
                        weight: if row == column { share } else { -share },
                    }
                })
                .collect()
        })
        .collect();
    let (svg, width) = map(&matrix.classes, &columns, &cells)?;
    page.charts.push(Chart {
        title: format!("What was answered {when} training"),
        legend: Vec::new(),
        svg,
        least: readable(width),
        note: "Rows are labels, columns are answers; blue is right.".into(),
    });
    Ok(())
}

fn classes(before: &Evaluation, after: &Evaluation) -> Table {
    let rows = after.classes.iter().map(|class| {
        let earlier = before.classes.iter().find(|b| b.class == class.class);
        vec![
            class.class.clone(),
            earlier.map_or("-".into(), |class| percent(class.accuracy())),
            percent(class.accuracy()),
            class.examples.to_string(),
        ]
    });
    Table {
        title: "Accuracy by class in %, greedy".into(),
        head: ["", "before", "after", "images"].map(String::from).to_vec(),
        rows: rows.collect(),
        note: String::new(),
    }
}

fn samples(page: &mut Page, dir: &Path) -> Result<(), Error> {
    let lines: Vec<Sample> = read_lines(&dir.join("samples.jsonl"))?;
    let count = lines.iter().map(|line| line.number + 1).max().unwrap_or(0);
    for number in 0..count {
        let of = || lines.iter().filter(|line| line.number == number);
        let Some(first) = of().next() else {
            continue;
        };
        let answers = of().map(|sample| AnswerView {
            step: sample.step,
            completion: sample.answer.completion.clone(),
            right: sample.answer.right,
        });
        page.samples.push(SampleView {
            image: image(&dir.join("samples"), number),
            label: first.answer.label.clone(),
            answers: answers.collect(),
        });
    }
    Ok(())
}

/// The image of a sample as a data URL, if it is there.
fn image(dir: &Path, number: usize) -> Option<String> {
    [("png", "png"), ("jpg", "jpeg")]
        .iter()
        .find_map(|(ending, kind)| {
            let bytes = std::fs::read(dir.join(format!("{number}.{ending}"))).ok()?;
            Some(format!(
                "data:image/{kind};base64,{}",
                STANDARD.encode(bytes)
            ))
        })
}

/// A comparison: its table, and the curves of each recipe's first seed.
pub(super) fn comparison(page: &mut Page, dir: &Path, rows: &[ComparisonRow]) -> Result<(), Error> {
    if page.title.is_empty() {
        page.title = "Recipes compared".into();
        page.subtitle = "Mean and sample standard deviation over seeds".into();
    }
    let show = |spread: &Spread| format!("{:.1} ± {:.1}", spread.mean, spread.std);
    page.tables.push(Table {
        title: "Accuracy in %".into(),
        head: [
            "", "greedy", "T = 1", "base", "new", "H", "tokens", "seconds",
        ]
        .map(String::from)
        .to_vec(),
        rows: rows
            .iter()
            .map(|row| {
                vec![
                    row.name.clone(),
                    show(&row.greedy),
                    show(&row.t1),
                    show(&row.base),
                    show(&row.new),
                    format!("{:.1}", row.harmonic),
                    show(&row.length),
                    match row.seconds.mean > 0.0 {
                        true => show(&row.seconds),
                        false => "-".into(),
                    },
                ]
            })
            .collect(),
        note: format!(
            "Few-shot on all classes; base, new and their harmonic mean H after training on the \
             base classes; {}.",
            rows.first()
                .map(|row| row.evaluation.clone())
                .unwrap_or_default()
        ),
    });
    let (mut accuracy, mut length) = (Vec::new(), Vec::new());
    for row in rows {
        let Some(run) = first_run(&dir.join(&row.name))? else {
            continue;
        };
        let metrics: Vec<StepMetrics> = read_lines(&run.join("few_shot/metrics.jsonl"))?;
        let series = |value: &dyn Fn(&StepMetrics) -> f64| Series {
            name: row.name.clone(),
            points: smooth(&metrics, value),
        };
        if metrics.iter().any(|step| !step.rewards.is_empty()) {
            accuracy.push(series(&|step| {
                step.rewards.first().map_or(0.0, |rule| rule.1)
            }));
        }
        length.push(series(&|step| step.completion_length));
    }
    for (title, series, unit) in [
        ("Accuracy reward in training", accuracy, "share"),
        ("Length of completions", length, "tokens"),
    ] {
        if !series.is_empty() {
            page.charts.push(Chart {
                title: title.into(),
                legend: legend(&series),
                svg: curves(&series, 0.0, unit)?,
                least: 0,
                note: "The first seed of each recipe.".into(),
            });
        }
    }
    Ok(())
}

/// The folder of the lowest seed of a recipe, if there is one.
fn first_run(dir: &Path) -> Result<Option<std::path::PathBuf>, Error> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(None);
    };
    let mut runs = Vec::new();
    for entry in entries.flatten() {
        let file = entry.path().join("comparison.json");
        if file.exists() {
            runs.push((Comparison::read(&file)?.seed, entry.path()));
        }
    }
    runs.sort();
    Ok(runs.into_iter().next().map(|(_, path)| path))
}

/// A cross-data-set table as a heat map of gains.
pub(super) fn cross_dataset(page: &mut Page, matrix: &CrossMatrix) -> Result<(), Error> {
    if page.title.is_empty() {
        page.title = "Trained on one, tested on all".into();
        page.subtitle = "Greedy accuracy and gains over the base model".into();
    }
    let gains = matrix.gains();
    let most = gains
        .iter()
        .flatten()
        .fold(1e-9, |most: f64, gain| most.max(gain.abs()));
    let cells: Vec<Vec<Cell>> = gains
        .iter()
        .map(|row| {
            let cells = row.iter().map(|gain| Cell {
                text: format!("{:+.1}", 100.0 * gain),
                weight: gain / most,
            });
            cells.collect()
        })
        .collect();
    let (svg, width) = map(&matrix.datasets, &matrix.datasets, &cells)?;
    page.charts.push(Chart {
        title: "Gains in points".into(),
        legend: Vec::new(),
        svg,
        least: readable(width),
        note: match matrix.mean_transfer() {
            Some(gain) => format!(
                "Rows: trained on; columns: tested on. Mean gain on data not trained on: {:+.1}.",
                100.0 * gain
            ),
            None => "Rows: trained on; columns: tested on.".into(),
        },
    });
    let mut rows = vec![vec!["zero-shot".to_owned()]];
    rows[0].extend(matrix.zero_shot.iter().map(|&accuracy| percent(accuracy)));
    for (name, accuracies) in matrix.datasets.iter().zip(&matrix.accuracy) {
        let mut row = vec![format!("trained on {name}")];
        row.extend(accuracies.iter().map(|&accuracy| percent(accuracy)));
        rows.push(row);
    }
    let mut head = vec![String::new()];
    head.extend(matrix.datasets.iter().cloned());
    page.tables.push(Table {
        title: "Accuracy in %".into(),
        head,
        rows,
        note: format!("Strict, greedy, {}.", matrix.evaluation),
    });
    Ok(())
}

/// The width down to which a map can be read.
fn readable(width: u32) -> u32 {
    width * 4 / 5
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// Means over windows of steps, at the step that each ends with.
fn smooth(metrics: &[StepMetrics], value: &dyn Fn(&StepMetrics) -> f64) -> Vec<(f64, f64)> {
    (0..metrics.len())
        .map(|at| {
            let window = &metrics[(at + 1).saturating_sub(WINDOW)..=at];
            let sum: f64 = window.iter().map(value).sum();
            (metrics[at].step as f64 + 1.0, sum / window.len() as f64)
        })
        .collect()
}
