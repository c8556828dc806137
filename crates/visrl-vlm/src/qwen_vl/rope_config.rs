//! The settings of rotary embeddings in `config.json`, whose place and names have changed.

use serde_json::Value;
use visrl_core::files::{Fields, is_set, same, shown};

use crate::error::Error;

/// The fields that may hold them. Where both do, transformers reads the first.
const PLACES: [&str; 2] = ["rope_scaling", "rope_parameters"];
/// What is understood in either.
const KNOWN: [&str; 6] = [
    "mrope_interleaved",
    "mrope_section",
    "partial_rotary_factor",
    "rope_theta",
    "rope_type",
    "type",
];

/// The bases that make frequencies: those of 1 and less do not fall, and single precision holds the
/// powers of no larger ones.
const THETA: [f64; 2] = [1.0, 1e15];

/// What is asked of a part's settings.
pub(super) struct Expected {
    /// The kinds of embedding that are computed.
    pub(super) kinds: [&'static str; 2],
    /// The base where none is given.
    pub(super) theta: f64,
    /// Whether the frequencies of the axes take turns, whatever the file says.
    pub(super) interleaved: bool,
}

/// The settings of one part of the model.
pub(super) struct RopeConfig<'a> {
    part: Fields<'a>,
    /// The field that counts and its value, where one is set.
    set: Option<(String, &'a Value)>,
    /// The base of the frequencies.
    pub(super) theta: f64,
}

impl<'a> RopeConfig<'a> {
    /// Reads the settings of a part of a file as transformers does.
    /// Places that contradict each other, and what is not computed there either, are told in
    /// warnings.
    ///
    /// # Errors
    /// [`Error::File`] with the field: another kind of embedding, settings by kind of layer, a
    /// switch that is neither true nor false, or a base that makes no frequencies.
    pub(super) fn read(part: Fields<'a>, expected: &Expected) -> Result<Self, Error> {
        let value = part.value();
        let mut set = PLACES.into_iter().filter_map(|field| {
            let settings = value.get(field).filter(|settings| is_set(settings))?;
            Some((field, settings))
        });
        let (first, second) = (set.next(), set.next());
        for (field, settings) in first.iter().chain(&second) {
            check(&part, (field, settings), expected)?;
        }
        let own = |field: &str| first.and_then(|(_, settings)| settings.get(field));
        let own = |field: &str| own(field).filter(|value| !value.is_null());
        let (theta_field, theta) = match (first, own("rope_theta")) {
            (Some((at, _)), Some(theta)) => (format!("{at}.rope_theta"), Some(theta)),
            _ => ("rope_theta".to_owned(), value.get("rope_theta")),
        };
        let theta = match theta.filter(|theta| !theta.is_null()) {
            None => expected.theta,
            Some(theta) => {
                let [least, most] = THETA;
                let number = theta.as_f64();
                let number = number.filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| -> Error {
                    let message = format!(
                        "is {}, expected a number from {least:?} to {most:?}",
                        shown(theta)
                    );
                    part.error(&theta_field, message)
                })?
            }
        };
        let rope = Self {
            part,
            set: first.map(|(field, settings)| (part.name(field), settings)),
            theta,
        };
        rope.tell_outer(first.map(|(field, _)| field));
        if let (Some(first), Some((field, other))) = (first, second) {
            rope.tell_second(first, field, other);
        }
        Ok(rope)
    }

    /// How many frequencies turn with time, height and width; `or` where the file does not say.
    /// They sum to `half`, unless the axes take turns: then the rest is time's.
    ///
    /// # Errors
    /// [`Error::File`] with the field: not three numbers, or another sum.
    pub(super) fn sections(
        &self,
        half: usize,
        or: [usize; 3],
        interleaved: bool,
    ) -> Result<[usize; 3], Error> {
        const FIELD: &str = "mrope_section";
        let none = Value::Null;
        let place = self.part.name(PLACES[0]);
        let (name, settings) = match &self.set {
            Some((name, settings)) => (name, *settings),
            None => (&place, &none),
        };
        let fields = Fields::new(self.part.path(), name, settings);
        let given: Option<[usize; 3]> = fields.optional(FIELD)?;
        let sections = given.unwrap_or(or);
        let sum = sections
            .iter()
            .try_fold(0usize, |sum, x| sum.checked_add(*x));
        let fits = match interleaved {
            true => sections.iter().all(|section| *section <= half),
            false => sum == Some(half),
        };
        if fits || interleaved && given.is_none() {
            return Ok(sections);
        }
        let left_out = if given.is_none() {
            ", as it is left out,"
        } else {
            ""
        };
        let rule = if interleaved { "be at most" } else { "sum to" };
        let message = format!("is {sections:?}{left_out} but must {rule} head_dim / 2 = {half}");
        Err(fields.error(FIELD, message))
    }

    /// Tells what stands outside of the settings and is taken otherwise.
    fn tell_outer(&self, first: Option<&str>) {
        let value = |field: &str| self.part.value().get(field).filter(|value| is_set(value));
        if let Some(outer) = value("rope_theta")
            && outer.as_f64() != Some(self.theta)
        {
            let counts = first.unwrap_or_default();
            let message = format!(
                "is {outer}, but `{counts}.rope_theta` is {}, which counts, as in transformers",
                self.theta
            );
            self.part.warn("rope_theta", message);
        }
        let inner = first.and_then(|field| self.part.value().get(field));
        let inner = inner.and_then(|settings| settings.get("partial_rotary_factor"));
        for (name, factor) in [
            (
                "partial_rotary_factor".to_owned(),
                value("partial_rotary_factor"),
            ),
            (
                format!("{}.partial_rotary_factor", first.unwrap_or_default()),
                inner.filter(|factor| is_set(factor)),
            ),
        ] {
            if let Some(factor) = factor.filter(|factor| factor.as_f64() != Some(1.0)) {
                let message = format!(
                    "is {}, which is not used: the model turns whole heads, as in transformers",
                    shown(factor)
                );
                self.part.warn(&name, message);
            }
        }
    }

    /// Tells where a second place of the settings says something else than what counts.
    fn tell_second(&self, (name, first): (&str, &Value), field: &str, other: &Value) {
        for inner in KNOWN {
            let counts = match inner {
                "rope_theta" => Some(Value::from(self.theta)),
                // Names of one kind, which was checked for both.
                "rope_type" | "type" => continue,
                _ => first.get(inner).cloned(),
            };
            let said = other.get(inner).filter(|said| is_set(said));
            let counts = counts.unwrap_or_default();
            if let Some(said) = said.filter(|said| !same(said, &counts)) {
                let message = format!(
                    "is {}, but `{}` counts, as in transformers, and has {}",
                    shown(said),
                    self.part.name(name),
                    shown(&counts)
                );
                self.part.warn(&format!("{field}.{inner}"), message);
            }
        }
    }
}

/// Refuses settings of another kind than is computed, and tells what in them is not known.
fn check(
    part: &Fields<'_>,
    (field, settings): (&str, &Value),
    expected: &Expected,
) -> Result<(), Error> {
    let Some(object) = settings.as_object() else {
        let message = format!("is {}, expected an object", shown(settings));
        return Err(part.error(field, message));
    };
    let name = part.name(field);
    let fields = Fields::new(part.path(), &name, settings);
    if let Some((kind, _)) = object.iter().find(|(_, value)| value.is_object()) {
        let message = "holds settings for a kind of layer, of which the model has one alone";
        return Err(fields.error(kind, message));
    }
    for field in ["rope_type", "type"] {
        let kind = fields.optional::<String>(field)?;
        if let Some(kind) = kind.filter(|kind| !expected.kinds.contains(&kind.as_str())) {
            let [a, b] = expected.kinds;
            let message = format!("is `{kind}`, expected `{a}` or `{b}`");
            return Err(fields.error(field, message));
        }
    }
    let said: Option<bool> = fields.optional("mrope_interleaved")?;
    if said.is_some_and(|said| said != expected.interleaved) {
        let message = format!(
            "is {}, but is {} in this model, as in transformers",
            !expected.interleaved, expected.interleaved
        );
        fields.warn("mrope_interleaved", message);
    }
    fields.tell_unknown(&[&KNOWN]);
    Ok(())
}
