use serde::{Deserialize, Serialize};

use super::result::Answer;

/// How often each class was called what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// The classes: labels in the order in which they were first met, then names that were only
    /// answered.
    pub classes: Vec<String>,
    /// `counts[label][answer]`; the last column, beyond the classes, counts answers that are no
    /// choice.
    pub counts: Vec<Vec<usize>>,
}

/// The accuracy of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// The class.
    pub class: String,
    /// Right answers, by the strict rule.
    pub right: usize,
    /// Examples of the class.
    pub examples: usize,
}

impl ClassAccuracy {
    /// Share of right answers, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.examples.max(1) as f64
    }
}

impl ConfusionMatrix {
    /// Counts answers.
    pub fn new(answers: &[Answer]) -> Self {
        let mut classes: Vec<String> = Vec::new();
        let labels = answers.iter().map(|answer| &answer.label);
        for name in labels.chain(
            answers
                .iter()
                .filter_map(|answer| answer.predicted.as_ref()),
        ) {
            if !classes.contains(name) {
                classes.push(name.clone());
            }
        }
        let mut counts = vec![vec![0; classes.len() + 1]; classes.len()];
        let place = |name: &String| classes.iter().position(|class| class == name);
        for answer in answers {
            let column = answer.predicted.as_ref().and_then(place);
            if let Some(row) = place(&answer.label) {
                counts[row][column.unwrap_or(classes.len())] += 1;
            }
        }
        Self { classes, counts }
    }

    /// The accuracy of each class that was asked for.
    pub fn classes(&self) -> Vec<ClassAccuracy> {
        let rows = self.classes.iter().zip(&self.counts).enumerate();
        rows.map(|(at, (class, row))| ClassAccuracy {
            class: class.clone(),
            right: row[at],
            examples: row.iter().sum(),
        })
        .filter(|class| class.examples > 0)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_labels_and_the_last_column_is_no_choice() {
        let answer = |label: &str, predicted: Option<&str>| Answer {
            label: label.into(),
            tokens: 1,
            right: predicted == Some(label),
            predicted: predicted.map(String::from),
            ..Answer::default()
        };
        let answers = [
            answer("coat", Some("coat")),
            answer("bag", Some("coat")),
            answer("coat", None),
            answer("coat", Some("boot")),
        ];
        let matrix = ConfusionMatrix::new(&answers);
        assert_eq!(matrix.classes, ["coat", "bag", "boot"]);
        assert_eq!(matrix.counts, [[1, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]);
        let classes = matrix.classes();
        assert_eq!(classes.len(), 2);
        assert_eq!((classes[0].right, classes[0].examples), (1, 3));
        assert!((classes[0].accuracy() - 1.0 / 3.0).abs() < 1e-12);
    }
}
