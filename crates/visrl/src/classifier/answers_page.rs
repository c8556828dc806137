//! Pictures and answers as an HTML page.

use std::collections::BTreeMap;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use minijinja::Environment;
use minijinja::value::Serde;
use rayon::prelude::*;
use serde::Serialize;
use visrl_core::ImageSource;
use visrl_image::{AlphaMode, Limits, Raster, Resample};

use super::picture_answer::PictureAnswer;
use crate::error::Error;

/// What every page of answers holds, and hardly another file.
pub const PAGE_MARK: &str = "<meta name=\"generator\" content=\"visrl classify\">";
const TEMPLATE: &str = include_str!("page.html");
/// Pictures that a page shows at the most.
const MOST: usize = 1000;
/// The longer side of a thumbnail in pixels, at the most.
const SIDE: usize = 240;
/// Choices that are shown of a picture.
const CHOICES: usize = 3;

#[derive(Serialize)]
struct Page {
    title: String,
    subtitle: String,
    counts: Vec<(String, usize)>,
    pictures: Vec<PictureView>,
    version: &'static str,
}

#[derive(Serialize)]
struct PictureView {
    /// A data URI, of signs that no markup is made of.
    thumbnail: Option<String>,
    image: String,
    answer: String,
    probability: String,
    choices: Vec<ChoiceView>,
    thought: Option<String>,
    /// What was said, where it is not the answer.
    said: Option<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ChoiceView {
    name: String,
    percent: String,
    width: String,
}

/// A page of pictures with their answers: damaged pictures first, then the least certain answer,
/// and so on. It holds all it shows, with thumbnails of the files that the answers name; of more
/// than 1,000 pictures the first 1,000 in that order. What stands in texts cannot become markup.
///
/// # Errors
/// [`Error::File`] for what the template says.
pub fn answers_page(title: &str, answers: &[PictureAnswer]) -> Result<String, Error> {
    let mut order: Vec<&PictureAnswer> = answers.iter().collect();
    let certainty = |answer: &PictureAnswer| match answer.error {
        Some(_) => -1.0,
        None => answer.probability.unwrap_or(0.0),
    };
    order.sort_by(|a, b| certainty(a).total_cmp(&certainty(b)));
    let shown = order.len().min(MOST);
    let pictures = order[..shown].par_iter().map(|answer| view(answer));
    let page = Page {
        title: title.to_owned(),
        subtitle: subtitle(answers, shown),
        counts: counts(answers),
        pictures: pictures.collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let failed = |error: minijinja::Error| Error::file("page.html", error.to_string());
    let mut environment = Environment::new();
    // The ending of the name switches escaping on.
    environment
        .add_template("page.html", TEMPLATE)
        .map_err(failed)?;
    let template = environment.get_template("page.html").map_err(failed)?;
    template.render(Serde(&page)).map_err(failed)
}

fn subtitle(answers: &[PictureAnswer], shown: usize) -> String {
    let damaged = answers.iter().filter(|a| a.error.is_some()).count();
    let count = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    let mut parts = vec![count(answers.len(), "picture")];
    if damaged > 0 {
        parts.push(format!("{damaged} that cannot be used"));
    }
    parts.push(match shown == answers.len() {
        true => "the least certain first".to_owned(),
        false => format!("the {shown} least certain of them"),
    });
    parts.join(", ")
}

/// How often each answer was given, the most frequent first; not where hardly any is given twice.
fn counts(answers: &[PictureAnswer]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers.iter().filter_map(|a| a.answer.as_deref()) {
        *counts.entry(answer).or_default() += 1;
    }
    if counts.len() * 2 > answers.len() {
        return Vec::new();
    }
    let mut counts: Vec<_> = counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn view(answer: &PictureAnswer) -> PictureView {
    let percent = |p: f64| format!("{:.1} %", 100.0 * p);
    let choice = |(name, p): (&str, f64)| ChoiceView {
        name: name.to_owned(),
        percent: percent(p),
        width: format!("{:.1}", 100.0 * p),
    };
    let ranked = answer.ranked().into_iter();
    let said = answer.completion.as_deref().map(str::trim);
    PictureView {
        thumbnail: thumbnail(&answer.image),
        image: answer.image.clone(),
        answer: answer.answer.clone().unwrap_or_default(),
        probability: answer.probability.map(percent).unwrap_or_default(),
        choices: ranked.take(CHOICES).map(choice).collect(),
        thought: answer.thought.clone(),
        said: said
            .filter(|said| Some(*said) != answer.answer.as_deref() && answer.thought.is_none())
            .map(str::to_owned),
        error: answer.error.clone(),
    }
}

/// A picture in small, as the model reads its pixels, as a data URI; nothing for one that cannot be
/// read.
fn thumbnail(path: &str) -> Option<String> {
    let raster = Raster::open(&ImageSource::path(path), &Limits::default()).ok()?;
    let mut raster = raster.to_rgb(AlphaMode::default());
    let longer = raster.width().max(raster.height());
    if longer > SIDE {
        let side = |side: usize| (side * SIDE).div_ceil(longer).max(1);
        let (width, height) = (side(raster.width()), side(raster.height()));
        raster = raster.resize(width, height, Resample::Bicubic);
    }
    let (width, height) = (raster.width() as u32, raster.height() as u32);
    let pixels = image::RgbImage::from_raw(width, height, raster.data().to_vec())?;
    let mut jpeg = Cursor::new(Vec::new());
    pixels.write_to(&mut jpeg, ImageFormat::Jpeg).ok()?;
    Some(format!(
        "data:image/jpeg;base64,{}",
        STANDARD.encode(jpeg.into_inner())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(image: &str, name: &str, probability: f64) -> PictureAnswer {
        PictureAnswer {
            image: image.into(),
            answer: Some(name.into()),
            probability: Some(probability),
            probabilities: [(name.to_owned(), probability)].into(),
            completion: Some(name.into()),
            ..PictureAnswer::default()
        }
    }

    #[test]
    fn the_least_certain_stands_first_and_damaged_pictures_before_it() {
        let damaged = PictureAnswer {
            image: "damaged.png".into(),
            error: Some("is cut".into()),
            ..PictureAnswer::default()
        };
        let answers = [
            answer("sure.png", "a", 0.9),
            answer("unsure.png", "a", 0.4),
            damaged,
        ];
        let html = answers_page("t", &answers).unwrap();
        let at = |text: &str| html.find(text).unwrap();
        assert!(at("damaged.png") < at("unsure.png") && at("unsure.png") < at("sure.png</p>"));
        assert!(html.contains("3 pictures, 1 that cannot be used, the least certain first"));
        assert!(html.contains("<span>a</span><span>2</span>"), "{html}");
    }

    #[test]
    fn nothing_can_become_markup() {
        let evil = "\"><script>alert('x')</script>";
        let mut one = answer(evil, evil, 0.5);
        one.thought = Some(evil.into());
        one.error = None;
        let mut other = answer("b", "b", 0.5);
        other.error = Some(evil.into());
        let html = answers_page(evil, &[one, other]).unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
    }

    #[test]
    fn a_page_holds_its_pictures_and_no_more_than_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wide.png");
        image::RgbImage::new(500, 20).save(&path).unwrap();
        let path = path.display().to_string();
        let html = answers_page("t", &[answer(&path, "a", 0.5)]).unwrap();
        let (_, rest) = html.split_once("base64,").unwrap();
        let (data, _) = rest.split_once('"').unwrap();
        let data = STANDARD.decode(data).unwrap();
        let small = image::load_from_memory(&data).unwrap();
        assert_eq!((small.width(), small.height()), (240, 10));
        let many = vec![answer("none.png", "a", 0.5); MOST + 1];
        let html = answers_page("t", &many).unwrap();
        assert_eq!(html.matches("<article>").count(), MOST);
        assert!(html.contains("1001 pictures, the 1000 least certain of them"));
    }
}
