//! The page that sections are put on.

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use crate::error::Error;

const TEMPLATE: &str = include_str!("page.html");

/// What the template shows, in this order.
#[derive(Default, Serialize)]
pub(super) struct Page {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) tables: Vec<Table>,
    pub(super) charts: Vec<Chart>,
    pub(super) samples: Vec<SampleView>,
    /// The run's own file.
    pub(super) config: String,
    pub(super) version: &'static str,
}

#[derive(Serialize)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) note: String,
}

#[derive(Serialize)]
pub(super) struct Chart {
    pub(super) title: String,
    /// Names with their colours.
    pub(super) legend: Vec<(String, String)>,
    pub(super) svg: String,
    /// Pixels below which it is not shrunk, but moved under a finger.
    pub(super) least: u32,
    pub(super) note: String,
}

/// An example with what was answered in the course of the run.
#[derive(Serialize)]
pub(super) struct SampleView {
    /// The image as a data URL.
    pub(super) image: Option<String>,
    pub(super) label: String,
    pub(super) answers: Vec<AnswerView>,
}

#[derive(Serialize)]
pub(super) struct AnswerView {
    pub(super) step: usize,
    pub(super) completion: String,
    pub(super) right: bool,
}

impl Page {
    /// The page as HTML; what stands in texts cannot become markup.
    pub(super) fn render(mut self) -> Result<String, Error> {
        self.version = env!("CARGO_PKG_VERSION");
        let failed = |error: minijinja::Error| Error::file("report", error.to_string());
        let mut environment = Environment::new();
        // The ending of the name switches escaping on.
        environment
            .add_template("page.html", TEMPLATE)
            .map_err(failed)?;
        let template = environment.get_template("page.html").map_err(failed)?;
        template.render(Serde(&self)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_cannot_become_markup() {
        let answer = AnswerView {
            step: 3,
            completion: "<script>alert('x')</script>".into(),
            right: false,
        };
        let page = Page {
            title: "a & b".into(),
            samples: vec![SampleView {
                image: Some("data:image/png;base64,AAAA".into()),
                label: "coat".into(),
                answers: vec![answer],
            }],
            charts: vec![Chart {
                title: "curve".into(),
                legend: ["a < b", "c"]
                    .map(|name| (name.into(), "rgb(0 0 0)".into()))
                    .to_vec(),
                svg: "<svg></svg>".into(),
                least: 300,
                note: String::new(),
            }],
            ..Page::default()
        };
        let html = page.render().unwrap();
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
        assert!(html.contains("a &lt; b") && html.contains("a &amp; b"));
        assert!(html.contains("<svg></svg>"));
        assert!(html.contains("width=device-width"));
    }
}
