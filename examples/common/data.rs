//! The flags that say which data are used.

use std::path::PathBuf;

use clap::Args;
use visrl::data::{FashionMnist, IdxConfig, Split, Tool};
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
    pub fn set(&self, source: &mut DataSource) -> Result<(), Error> {
        if let Some(path) = &self.data {
            *source = DataSource::at(path, self.data_kind)?;
        } else if let Some(kind) = self.data_kind {
            let none = || Error::Setting {
                name: "--data-kind".into(),
                message: "needs --data".into(),
            };
            let path = source.path().ok_or_else(none)?.to_path_buf();
            *source = DataSource::at(&path, Some(kind))?;
        }
        if let (DataSource::FashionMnist { path }, [_, ..]) = (&*source, &self.classes[..]) {
            let options = IdxConfig {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                classes: self.classes.clone(),
                ..FashionMnist::config()
            };
            let path = path.clone();
            *source = DataSource::Idx { path, options };
        }
        self.set_rows(source)
    }

    fn set_rows(&self, source: &mut DataSource) -> Result<(), Error> {
        let names = [
            ("--question", &self.question),
            ("--answer", &self.answer),
            ("--images", &self.images),
            ("--system", &self.system),
            ("--images-folder", &self.images_folder),
            ("--dataset", &self.dataset),
        ];
        let mut given = names
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| *name);
        let more = [
            ("--any-path", self.any_path),
            ("--tool", self.tool.is_some()),
            ("--split", self.split.is_some()),
        ];
        let mut more = more
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| *name);
        let DataSource::Rows { options, .. } = source else {
            return match given.next().or_else(|| more.next()) {
                Some(name) => Err(Error::Setting {
                    name: name.into(),
                    message: format!("is for files of rows, and {}", source.described()),
                }),
                None => Ok(()),
            };
        };
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
        Ok(())
    }
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
