//! The flags that say which data are used.

use std::path::PathBuf;

use clap::Args;
use visrl::data::{CoopSet, FashionMnist, IdxConfig, RowsConfig, Split, Tool};
use visrl::{DataKind, DataSource, Error};

/// Which data, and how they are read.
#[derive(Args, Clone, Debug, Default)]
pub struct DataFlags {
    /// Data: a folder of class folders, of IDX files, of one of CoOp's sets or of files of rows; a
    /// file of rows (JSON lines, JSON, parquet, `dataset_info.json`, VLM-R1's YAML); or `shapes`
    /// for drawn ones.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// What lies there, where it could be two things: image-folder, idx, coop, rows, cv-bench, sat
    /// or shapes.
    #[arg(long, value_parser = kind)]
    pub data_kind: Option<DataKind>,
    /// CoOp: which of the sets, by its folder's name, where several lie there.
    #[arg(long = "set", value_name = "SET", value_parser = coop_set)]
    pub coop_set: Option<CoopSet>,
    /// Of data without a test split: the part of each class that is held out as one.
    #[arg(long)]
    pub test_fraction: Option<f64>,
    /// The class names in label order, separated by commas (of IDX files, and of rows).
    #[arg(long, value_delimiter = ',')]
    pub classes: Vec<String>,
    /// Rows: the column of the question, or of the turns.
    #[arg(long, value_name = "COLUMN")]
    pub question: Option<String>,
    /// Rows: the column of the answer.
    #[arg(long, value_name = "COLUMN")]
    pub answer: Option<String>,
    /// Rows: the column of the images.
    #[arg(long, value_name = "COLUMN")]
    pub images: Option<String>,
    /// Rows: the column of the system turn.
    #[arg(long, value_name = "COLUMN")]
    pub system: Option<String>,
    /// Rows: what paths of images are relative to [default: the folder of the file]
    #[arg(long, value_name = "FOLDER", alias = "images_folder")]
    pub images_folder: Option<String>,
    /// Rows: allow absolute paths and `..`.
    #[arg(long, alias = "any_path")]
    pub any_path: bool,
    /// The entry of `dataset_info.json`.
    #[arg(long, value_name = "ENTRY")]
    pub dataset: Option<String>,
    /// Rows: the tool they were written for: ms-swift, llama-factory, trl, easyr1, verl, vlm-r1 or
    /// cls-rl.
    #[arg(long, value_parser = tool)]
    pub tool: Option<Tool>,
    /// Rows: the split of those that name none.
    #[arg(long, value_parser = split)]
    pub split: Option<Split>,
}

impl DataFlags {
    /// Changes a source as the flags say, or takes another one.
    ///
    /// # Errors
    /// What finding the source says; a flag that means nothing for the kind that was found.
    pub fn set(&self, source: &mut DataSource) -> Result<(), Error> {
        if let Some(path) = &self.data {
            let kind = self.data_kind.map_or_else(|| DataKind::of(path), Ok)?;
            *source = match (kind, self.coop_set) {
                (DataKind::Coop, Some(set)) => DataSource::of_coop(path, set)?,
                _ => DataSource::at(path, Some(kind))?,
            };
        } else if let Some(kind) = self.data_kind
            && source.kind() != Some(kind)
        {
            let none = || refused("--data-kind", "needs --data".into());
            let path = source.path().ok_or_else(none)?.to_path_buf();
            *source = DataSource::at(&path, Some(kind))?;
        }
        let taken = taken(source);
        let mut given = self.given().into_iter();
        if let Some((flag, _)) = given.find(|(flag, is)| *is && !taken.contains(flag)) {
            return Err(refused(flag, means_nothing(source, taken)));
        }
        match source {
            DataSource::FashionMnist { path } if !self.classes.is_empty() => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let options = IdxConfig {
                    name: name.into_owned(),
                    classes: self.classes.clone(),
                    ..FashionMnist::config()
                };
                let path = path.clone();
                *source = DataSource::Idx { path, options };
            }
            DataSource::Idx { options, .. } if !self.classes.is_empty() => {
                options.classes.clone_from(&self.classes);
            }
            DataSource::Coop { set, .. } => *set = self.coop_set.unwrap_or(*set),
            DataSource::Rows { options, .. } => self.set_rows(options),
            _ => {}
        }
        Ok(())
    }

    /// The flags that not every kind of data takes, and whether they were given.
    fn given(&self) -> [(&'static str, bool); 11] {
        [
            ("--set", self.coop_set.is_some()),
            ("--classes", !self.classes.is_empty()),
            ("--question", self.question.is_some()),
            ("--answer", self.answer.is_some()),
            ("--images", self.images.is_some()),
            ("--system", self.system.is_some()),
            ("--images-folder", self.images_folder.is_some()),
            ("--any-path", self.any_path),
            ("--dataset", self.dataset.is_some()),
            ("--tool", self.tool.is_some()),
            ("--split", self.split.is_some()),
        ]
    }

    fn set_rows(&self, options: &mut RowsConfig) {
        let columns = &mut options.columns;
        for (to, from) in [
            (&mut columns.question, &self.question),
            (&mut columns.answer, &self.answer),
            (&mut columns.images, &self.images),
            (&mut columns.system, &self.system),
            (&mut options.images_folder, &self.images_folder),
            (&mut options.dataset, &self.dataset),
        ] {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        options.any_path |= self.any_path;
        options.tool = self.tool.or(options.tool);
        options.split = self.split.or(options.split);
        if !self.classes.is_empty() {
            options.classes = Some(self.classes.clone());
        }
    }
}

/// The flags that a kind of data takes beside those of every kind; any other one means nothing to it.
fn taken(source: &DataSource) -> &'static [&'static str] {
    match source {
        DataSource::Coop { .. } => &["--set"],
        DataSource::FashionMnist { .. } | DataSource::Idx { .. } => &["--classes"],
        DataSource::Rows { .. } => &[
            "--classes",
            "--question",
            "--answer",
            "--images",
            "--system",
            "--images-folder",
            "--any-path",
            "--dataset",
            "--tool",
            "--split",
        ],
        DataSource::ImageFolder { .. }
        | DataSource::Parquet { .. }
        | DataSource::CvBench { .. }
        | DataSource::Sat { .. }
        | DataSource::DrawnShapes { .. }
        | DataSource::Custom { .. } => &[],
    }
}

fn means_nothing(source: &DataSource, taken: &[&str]) -> String {
    let described = source.described();
    match taken {
        [] => format!("means nothing here: {described}"),
        taken => format!(
            "means nothing here: {described}, for which there are {}",
            taken.join(", ")
        ),
    }
}

fn refused(flag: &str, message: String) -> Error {
    Error::Setting {
        name: flag.into(),
        message,
    }
}

fn coop_set(name: &str) -> Result<CoopSet, String> {
    let known = || CoopSet::ALL.map(CoopSet::folder).join(", ");
    let found = CoopSet::ALL.into_iter().find(|set| set.folder() == name);
    found.ok_or_else(|| format!("`{name}` is none of {}", known()))
}

fn kind(name: &str) -> Result<DataKind, String> {
    let known = || DataKind::ALL.map(DataKind::as_str).join(", ");
    DataKind::named(name).ok_or_else(|| format!("expected one of {}", known()))
}

fn tool(name: &str) -> Result<Tool, String> {
    let known = || Tool::ALL.map(Tool::as_str).join(", ");
    Tool::named(name).ok_or_else(|| format!("expected one of {}", known()))
}

fn split(name: &str) -> Result<Split, String> {
    Split::named(name).ok_or_else(|| "expected train, val or test".into())
}
