use std::fmt;

use serde::{Deserialize, Serialize};

/// What a question of CV-Bench is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CvBenchTask {
    /// How many there are; 2D.
    Count,
    /// Where one thing is as seen from another; 2D.
    Relation,
    /// Which of two is closer to the camera; 3D.
    Depth,
    /// Which of two is closer to a third; 3D.
    Distance,
}

impl CvBenchTask {
    /// The four tasks, in the order of the paper's tables.
    pub const ALL: [Self; 4] = [Self::Count, Self::Relation, Self::Depth, Self::Distance];

    /// The task's name in CV-Bench's files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Relation => "Relation",
            Self::Depth => "Depth",
            Self::Distance => "Distance",
        }
    }

    /// The task of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.as_str() == name)
    }
}

impl fmt::Display for CvBenchTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What CV-Bench says of a question beside the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CvBenchFacts {
    /// The task.
    pub task: CvBenchTask,
    /// Whether the question is about the plane or about space: `2D` or `3D`.
    pub kind: String,
    /// The data set that the picture is from, such as `ADE20K`, `COCO` or `Omni3D`; CV-Bench's
    /// 2D accuracy is the mean over the first two.
    pub source: String,
}
