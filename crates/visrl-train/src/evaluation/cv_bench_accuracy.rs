use serde::{Deserialize, Serialize};
use visrl_data::{CvBenchFacts, CvBenchTask};

use super::result::Answer;

/// Right answers to CV-Bench's questions, by task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CvBenchAccuracy {
    /// The tasks that were asked, in the order of the paper's tables.
    pub tasks: Vec<TaskAccuracy>,
    /// In the plane: the mean of the accuracies on pictures of ADE20K and of COCO, 0 to 1; nothing
    /// unless both were asked.
    pub plane: Option<f64>,
    /// In space: the accuracy on pictures of Omni3D.
    pub space: Option<f64>,
    /// CV-Bench's number: the mean of the two.
    pub overall: Option<f64>,
    /// Share of right answers of all questions alike, 0 to 1: what the paper calls overall. Nothing
    /// where none was asked, and in files of older versions.
    #[serde(default)]
    pub all: Option<f64>,
}

/// The accuracy on one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAccuracy {
    /// The task.
    pub task: CvBenchTask,
    /// Right answers.
    pub right: usize,
    /// Questions.
    pub examples: usize,
}

impl TaskAccuracy {
    /// Share of right answers, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.examples.max(1) as f64
    }
}

impl CvBenchAccuracy {
    /// Counts the answers that are right by one's own measure, such as `|answer| answer.lenient`;
    /// the facts are in the order of the answers.
    pub fn new(
        answers: &[Answer],
        facts: &[CvBenchFacts],
        right: impl Fn(&Answer) -> bool,
    ) -> Self {
        let count = |is: &dyn Fn(&CvBenchFacts) -> bool| {
            let of = answers.iter().zip(facts).filter(|(_, facts)| is(facts));
            of.fold((0, 0), |(rights, all), (answer, _)| {
                (rights + usize::from(right(answer)), all + 1)
            })
        };
        let tasks = CvBenchTask::ALL.map(|task| {
            let (right, examples) = count(&|facts| facts.task == task);
            TaskAccuracy {
                task,
                right,
                examples,
            }
        });
        let source = |source: &str| {
            let (right, all) = count(&|facts| facts.source == source);
            (all > 0).then(|| right as f64 / all as f64)
        };
        let (right, asked) = count(&|_| true);
        let mean = |a: Option<f64>, b: Option<f64>| Some((a? + b?) / 2.0);
        let plane = mean(source("ADE20K"), source("COCO"));
        let space = source("Omni3D");
        Self {
            tasks: tasks.into_iter().filter(|task| task.examples > 0).collect(),
            plane,
            space,
            overall: mean(plane, space),
            all: (asked > 0).then(|| right as f64 / asked as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_questions_there_is_no_accuracy() {
        let none = CvBenchAccuracy::new(&[], &[], |answer| answer.right);
        assert_eq!((none.all, none.overall), (None, None));
    }

    #[test]
    fn the_plane_is_the_mean_of_its_two_sources() {
        let facts = |task, source: &str| CvBenchFacts {
            task,
            kind: String::new(),
            source: source.into(),
        };
        let asked = [
            (facts(CvBenchTask::Count, "ADE20K"), true),
            (facts(CvBenchTask::Relation, "COCO"), true),
            (facts(CvBenchTask::Relation, "COCO"), false),
            (facts(CvBenchTask::Relation, "COCO"), false),
            (facts(CvBenchTask::Relation, "COCO"), false),
            (facts(CvBenchTask::Depth, "Omni3D"), true),
            (facts(CvBenchTask::Depth, "Omni3D"), false),
        ];
        let (facts, right): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let answers: Vec<_> = right
            .into_iter()
            .map(|right| Answer {
                right,
                ..Answer::default()
            })
            .collect();
        let found = CvBenchAccuracy::new(&answers, &facts, |answer| answer.right);
        let tasks: Vec<_> = found.tasks.iter().map(|t| (t.task, t.accuracy())).collect();
        let wanted = [
            (CvBenchTask::Count, 1.0),
            (CvBenchTask::Relation, 0.25),
            (CvBenchTask::Depth, 0.5),
        ];
        assert_eq!(tasks, wanted);
        assert_eq!((found.plane, found.space), (Some(0.625), Some(0.5)));
        assert_eq!(found.overall, Some(0.5625));
        assert_eq!(found.all, Some(3.0 / 7.0));
        let found = CvBenchAccuracy::new(&answers[..1], &facts, |answer| answer.right);
        assert_eq!((found.plane, found.overall), (None, None));
    }
}
