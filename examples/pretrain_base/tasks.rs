//! What the base model is taught: to describe, to choose from a list, and the forms of answers.

use std::sync::Arc;

use visrl_core::{Example, ImageSource, Message, Prompt, ShuffleRng};
use visrl_data::{Dataset, FashionMnist, Method, PromptTemplate, Record, Split, Wording};

use crate::drawing;

/// What each class of Fashion-MNIST looks like: its kind and what is seen on it.
const LOOKS: [(&str, &str); 10] = [
    ("garment", "short sleeves"),
    ("garment", "two legs"),
    ("garment", "long sleeves"),
    ("garment", "a long skirt"),
    ("garment", "an open front"),
    ("shoe", "thin straps"),
    ("garment", "a collar and buttons"),
    ("shoe", "a flat sole"),
    ("item", "a handle"),
    ("shoe", "a high shaft"),
];
const QUESTION: &str = "What type of object is in the photo?";
const DESCRIBE: &str = "Describe the photo.";
const LIST_SIZES: [usize; 12] = [3, 4, 5, 5, 5, 6, 7, 8, 9, 10, 10, 10];

/// A prompt and the completion taught for it.
pub struct Task {
    pub prompt: Prompt,
    pub target: String,
}

/// The mixture of tasks.
pub struct Tasks {
    classes: Vec<String>,
    /// Images of each class that may be described, the first `named` of which may be named.
    images: Vec<Vec<Record>>,
    named: usize,
}

impl Tasks {
    /// Takes the first `described` training images of each class; the first `named` of these are
    /// the only ones whose names are taught.
    pub fn new(data: &FashionMnist, described: usize, named: usize) -> Result<Self, visrl_data::Error> {
        let classes = data.classes().to_vec();
        let mut images: Vec<Vec<Record>> = vec![Vec::new(); classes.len()];
        for record in data.records(Split::Train)? {
            let of_class = &mut images[record.label];
            if of_class.len() < described {
                of_class.push(record.clone());
            }
        }
        Ok(Self { classes, images, named })
    }

    /// Draws one task.
    pub fn draw(&self, rng: &mut ShuffleRng) -> Task {
        if rng.uniform() < 0.30 {
            let drawing = drawing::draw(rng);
            return self.task(rng, drawing.image, drawing.name, drawing.family, &drawing.description, 0.2);
        }
        let class = rng.below(self.classes.len());
        let describe = rng.uniform() < 0.5;
        let count = if describe { self.images[class].len() } else { self.named };
        let record = &self.images[class][rng.below(count)];
        let description = describe_fashion(&record.image, class);
        let image = augment(&record.image, rng);
        let family: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        let share = if describe { 1.0 } else { 0.0 };
        self.task(rng, image, &self.classes[class], &family, &description, share)
    }

    fn task(
        &self,
        rng: &mut ShuffleRng,
        image: ImageSource,
        name: &str,
        family: &[&str],
        description: &str,
        describe: f64,
    ) -> Task {
        if rng.uniform() < describe {
            let prompt = Prompt::user("describe", image, DESCRIBE);
            return Task { prompt, target: description.to_owned() };
        }
        let size = LIST_SIZES[rng.below(LIST_SIZES.len())].min(family.len());
        let mut choices: Vec<String> =
            family.iter().filter(|other| **other != name).map(|other| (*other).to_owned()).collect();
        rng.shuffle(&mut choices);
        choices.truncate(size - 1);
        choices.push(name.to_owned());
        rng.shuffle(&mut choices);
        let wording =
            [Wording::Train, Wording::Train, Wording::EvalBase, Wording::EvalNew][rng.below(4)];
        let thoughtful = format!("<think> {description} </think><answer>{name}</answer>");
        let draw = rng.uniform();
        let (method, target) = if draw < 0.45 {
            (Method::NoThinking, name.to_owned())
        } else if draw < 0.80 {
            (Method::Thinking, thoughtful)
        } else if draw < 0.90 {
            let target = format!("<answer>{name}</answer><reason> {description} </reason>");
            (Method::ThinkAfterAnswer, target)
        } else if rng.uniform() < 0.5 {
            (Method::Adaptive, thoughtful)
        } else {
            (Method::Adaptive, format!("<answer>{name}</answer>"))
        };
        let example = Example {
            id: "name".into(),
            image,
            question: QUESTION.into(),
            choices,
            label: name.to_owned(),
        };
        Task { prompt: PromptTemplate::paper(method, wording).render(&example), target }
    }

    /// Texts that the tokenizer is trained on.
    pub fn corpus(&self, rng: &mut ShuffleRng, count: usize) -> Vec<String> {
        let text = |message: &Message| {
            let parts = message.content.iter().map(|part| match part {
                visrl_core::Content::Text(text) => text.as_str(),
                visrl_core::Content::Image(_) => "",
            });
            parts.collect::<String>()
        };
        (0..count)
            .map(|_| {
                let Task { prompt, target } = self.draw(rng);
                let asked: String = prompt.messages.iter().map(text).collect();
                format!("system\nYou are a helpful assistant.\nuser\n{asked}\nassistant\n{target}\n")
            })
            .collect()
    }
}

fn describe_fashion(image: &ImageSource, class: usize) -> String {
    let (kind, look) = LOOKS[class];
    let ImageSource::Gray { pixels, .. } = image else {
        return format!("The photo shows a {kind} with {look}.");
    };
    let lit: Vec<f64> = pixels.iter().filter(|&&p| p > 20).map(|&p| f64::from(p)).collect();
    let mean = lit.iter().sum::<f64>() / lit.len().max(1) as f64;
    let tone = match mean {
        mean if mean < 95.0 => "dark",
        mean if mean < 165.0 => "grey",
        _ => "bright",
    };
    format!("The photo shows a {tone} {kind} with {look}.")
}

/// Moves a grey image by up to two pixels and mirrors every second one.
fn augment(image: &ImageSource, rng: &mut ShuffleRng) -> ImageSource {
    let ImageSource::Gray { name, width, height, pixels } = image else { return image.clone() };
    let (dx, dy) = (rng.below(5) as i64 - 2, rng.below(5) as i64 - 2);
    let mirrored = rng.uniform() < 0.5;
    let (w, h) = (i64::from(*width), i64::from(*height));
    let moved: Vec<u8> = (0..h)
        .flat_map(|y| (0..w).map(move |x| (x, y)))
        .map(|(x, y)| {
            let x = if mirrored { w - 1 - x } else { x };
            let (x, y) = (x - dx, y - dy);
            let inside = (0..w).contains(&x) && (0..h).contains(&y);
            if inside { pixels[(y * w + x) as usize] } else { 0 }
        })
        .collect();
    ImageSource::Gray {
        name: Arc::clone(name),
        width: *width,
        height: *height,
        pixels: Arc::from(moved),
    }
}
