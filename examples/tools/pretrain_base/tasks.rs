//! What the base model is taught: to describe, to choose from a list, and the forms of answers.

use std::sync::Arc;

use visrl_core::{Content, Example, ImageSource, Message, Prompt, ShuffleRng};
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

/// How much of what is taught.
#[derive(Clone, Copy, Debug)]
pub struct Mixture {
    /// Images of each class of Fashion-MNIST that are described.
    pub described: usize,
    /// Images of each class whose names are taught: the first of those described.
    pub named: usize,
    /// Share of tasks about drawn pictures, which have all kinds of tasks.
    pub drawn: f64,
    /// Share of tasks that give a description in words instead of an image and ask for the name.
    pub worded: f64,
    /// Share of worded tasks whose description leaves several names possible.
    pub vague: f64,
    /// Share of tasks that name an image of Fashion-MNIST.
    pub naming: f64,
}

/// The mixture of tasks; what is left of the shares describes images of Fashion-MNIST.
pub struct Tasks {
    classes: Vec<String>,
    images: Vec<Vec<Record>>,
    mixture: Mixture,
}

impl Tasks {
    /// Takes the first training images of each class.
    pub fn new(data: &FashionMnist, mixture: Mixture) -> Result<Self, visrl_data::Error> {
        let classes = data.classes().to_vec();
        let mut images: Vec<Vec<Record>> = vec![Vec::new(); classes.len()];
        for record in data.records(Split::Train)? {
            let of_class = &mut images[record.label];
            if of_class.len() < mixture.described {
                of_class.push(record.clone());
            }
        }
        Ok(Self {
            classes,
            images,
            mixture,
        })
    }

    /// Draws one task.
    pub fn draw(&self, rng: &mut ShuffleRng) -> Task {
        let Mixture {
            named,
            drawn,
            worded,
            naming,
            ..
        } = self.mixture;
        let kind = rng.uniform();
        if kind < drawn {
            let drawing = drawing::draw(rng);
            if rng.uniform() < 0.2 {
                return describe(drawing.image, drawing.description);
            }
            let asked = Asked {
                image: Some(drawing.image),
                question: QUESTION.into(),
            };
            return choose(
                rng,
                asked,
                drawing.name,
                drawing.family,
                &drawing.description,
            );
        }
        let class = rng.below(self.classes.len());
        let family: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        if kind < drawn + worded {
            return self.worded(rng, class, &family);
        }
        let naming = kind < drawn + worded + naming;
        let count = if naming {
            named
        } else {
            self.images[class].len()
        };
        let record = &self.images[class][rng.below(count)];
        let description = describe_fashion(tone(&record.image), class, true);
        let image = augment(&record.image, rng);
        if naming {
            let asked = Asked {
                image: Some(image),
                question: QUESTION.into(),
            };
            return choose(rng, asked, family[class], &family, &description);
        }
        describe(image, description)
    }

    /// A description in words; a vague one leaves out what tells the classes of a kind apart, so
    /// that any of them is as good an answer.
    fn worded(&self, rng: &mut ShuffleRng, class: usize, family: &[&str]) -> Task {
        let tone = TONES[rng.below(TONES.len())];
        let clear = rng.uniform() >= self.mixture.vague;
        let description = describe_fashion(tone, class, clear);
        let question = format!("{description} {QUESTION}");
        choose(
            rng,
            Asked {
                image: None,
                question,
            },
            family[class],
            family,
            &description,
        )
    }

    /// Texts that the tokenizer is trained on.
    pub fn corpus(&self, rng: &mut ShuffleRng, count: usize) -> Vec<String> {
        let text = |message: &Message| {
            let parts = message.content.iter().map(|part| match part {
                Content::Text(text) => text.as_str(),
                Content::Image(_) => "",
            });
            parts.collect::<String>()
        };
        (0..count)
            .map(|_| {
                let Task { prompt, target } = self.draw(rng);
                let asked: String = prompt.messages.iter().map(text).collect();
                format!(
                    "system\nYou are a helpful assistant.\nuser\n{asked}\nassistant\n{target}\n"
                )
            })
            .collect()
    }
}

/// What a task shows and asks.
struct Asked {
    image: Option<ImageSource>,
    question: String,
}

fn describe(image: ImageSource, description: String) -> Task {
    Task {
        prompt: Prompt::user("describe", image, DESCRIBE),
        target: description,
    }
}

/// Asks for one of several names in the manner of one of the methods.
fn choose(
    rng: &mut ShuffleRng,
    asked: Asked,
    name: &str,
    family: &[&str],
    description: &str,
) -> Task {
    let size = LIST_SIZES[rng.below(LIST_SIZES.len())].min(family.len());
    let mut choices: Vec<String> = family
        .iter()
        .filter(|other| **other != name)
        .map(|other| (*other).to_owned())
        .collect();
    rng.shuffle(&mut choices);
    choices.truncate(size - 1);
    choices.push(name.to_owned());
    rng.shuffle(&mut choices);
    let wording = [
        Wording::Train,
        Wording::Train,
        Wording::EvalBase,
        Wording::EvalNew,
    ];
    let wording = wording[rng.below(wording.len())];
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
        image: asked.image.clone().unwrap_or_else(|| ImageSource::path("")),
        question: asked.question,
        choices,
        label: name.to_owned(),
        row: Default::default(),
    };
    let mut prompt = PromptTemplate::paper(method, wording).render(&example);
    if asked.image.is_none() {
        for message in &mut prompt.messages {
            message
                .content
                .retain(|part| matches!(part, Content::Text(_)));
        }
    }
    Task { prompt, target }
}

const TONES: [&str; 3] = ["dark", "grey", "bright"];

/// The brightness of what is not background.
fn tone(image: &ImageSource) -> &'static str {
    let ImageSource::Gray { pixels, .. } = image else {
        return TONES[1];
    };
    let lit: Vec<f64> = pixels
        .iter()
        .filter(|&&p| p > 20)
        .map(|&p| f64::from(p))
        .collect();
    match lit.iter().sum::<f64>() / lit.len().max(1) as f64 {
        mean if mean < 95.0 => TONES[0],
        mean if mean < 165.0 => TONES[1],
        _ => TONES[2],
    }
}

fn describe_fashion(tone: &str, class: usize, clear: bool) -> String {
    let (kind, look) = LOOKS[class];
    match clear {
        true => format!("The photo shows a {tone} {kind} with {look}."),
        false => format!("The photo shows a {tone} {kind}."),
    }
}

/// Moves a grey image by up to two pixels and mirrors every second one.
fn augment(image: &ImageSource, rng: &mut ShuffleRng) -> ImageSource {
    let ImageSource::Gray {
        name,
        width,
        height,
        pixels,
    } = image
    else {
        return image.clone();
    };
    let (dx, dy) = (rng.below(5) as i64 - 2, rng.below(5) as i64 - 2);
    let mirrored = rng.uniform() < 0.5;
    let (w, h) = (i64::from(*width), i64::from(*height));
    let moved: Vec<u8> = (0..h)
        .flat_map(|y| (0..w).map(move |x| (x, y)))
        .map(|(x, y)| {
            let x = if mirrored { w - 1 - x } else { x };
            let (x, y) = (x - dx, y - dy);
            let inside = (0..w).contains(&x) && (0..h).contains(&y);
            if inside {
                pixels[(y * w + x) as usize]
            } else {
                0
            }
        })
        .collect();
    ImageSource::Gray {
        name: Arc::clone(name),
        width: *width,
        height: *height,
        pixels: Arc::from(moved),
    }
}
