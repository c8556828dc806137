//! Which column is what: the table of `docs/data.md`.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::sources::rows::at::At;
use crate::sources::rows::tool::Tool;
use crate::sources::rows::value::Value;

/// Columns by their names, where the usual ones are not meant. A name with dots goes into a
/// structure: `extra_info.question`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnNames {
    /// The column of the question, or of the turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The column of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The column of the image or the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// The column of the system turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl ColumnNames {
    /// The names that are given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &str> {
        let names = [&self.question, &self.answer, &self.images, &self.system];
        names.into_iter().filter_map(|name| name.as_deref())
    }
}

/// Columns of turns.
const TURNS: [&str; 3] = ["messages", "conversations", "conversation"];
/// Columns of a question as a text, or `prompt` as turns; `query` goes before the others.
const QUESTIONS: [&str; 5] = ["query", "problem", "question", "prompt", "instruction"];
/// The other half of an instruction, or the question where there is none.
const INPUT: &str = "input";
/// Columns of the answer, behind `solution`, `reward_model.ground_truth` and the answer among turns;
/// `response` goes before the others.
const ANSWERS: [&str; 10] = [
    "response",
    "completion",
    "output",
    "answer",
    "targets",
    "target",
    "answer_key",
    "answers",
    "text",
    "content",
];
/// The answer where there is no other.
const LABEL: &str = "label";
const SOLUTION: &str = "solution";
const REWARD: &str = "reward_model";
const TRUTH: &str = "ground_truth";
const IMAGES: [&str; 2] = ["images", "image"];
const SYSTEMS: [&str; 2] = ["system", "system_prompt"];
/// Columns that make a row one of another kind.
const REFUSED: [(&str, &str); 5] = [
    ("videos", "a video"),
    ("video", "a video"),
    ("audios", "a sound"),
    ("audio", "a sound"),
    (
        "history",
        "earlier questions with their answers: one of each is read",
    ),
];

/// A column and what it holds.
pub(crate) type Column<'r> = (&'r str, &'r Value);

/// What stands where in a row.
#[derive(Default)]
pub(crate) struct Found<'r> {
    /// The question, in one column or (an instruction and its input) in two.
    pub(crate) question: Vec<Column<'r>>,
    /// The answer that goes before one among the turns.
    pub(crate) truth: Option<Column<'r>>,
    /// The answer where there is none among the turns.
    pub(crate) answer: Option<Column<'r>>,
    pub(crate) images: Option<Column<'r>>,
    /// The column of images, whether it is filled or not.
    pub(crate) images_name: &'r str,
    pub(crate) system: Option<Column<'r>>,
    pub(crate) choices: Option<Column<'r>>,
    pub(crate) split: Option<Column<'r>>,
    /// A column that should have held the answer, for errors.
    pub(crate) no_answer: &'r str,
    /// Columns that are used, or that mean nothing here and need not be told.
    pub(crate) known: Vec<&'r str>,
}

impl Found<'_> {
    /// Whether the question is in turns.
    pub(crate) fn has_turns(&self) -> bool {
        matches!(self.question.first(), Some((_, Value::List(_))))
    }

    /// Refuses turns that are a text and no JSON, and a column that is the question and the answer,
    /// or the question and the images.
    pub(crate) fn check(&self, at: At<'_>) -> Result<(), Error> {
        let [(column, asked)] = self.question[..] else {
            return Ok(());
        };
        let is_turns = TURNS.iter().any(|name| name.eq_ignore_ascii_case(column));
        if let (true, Value::Text(text)) = (is_turns, asked)
            && text.trim_start().starts_with(['[', '{'])
        {
            let message = "is a text that is no JSON list of turns; write the turns as a list";
            return Err(at.error(column, message));
        }
        let others = [
            (self.truth.or(self.answer), "answer"),
            (self.images, "images"),
        ];
        for (other, what) in others {
            if other.is_some_and(|(_, value)| std::ptr::eq(value, asked)) {
                let message =
                    format!("is the question's column and that of the {what}; name another");
                return Err(at.error(column, message));
            }
        }
        Ok(())
    }
}

/// A row's columns.
pub(crate) struct Fields<'r>(pub(crate) &'r [(String, Value)]);

impl<'r> Fields<'r> {
    /// A column by its name; in any case where none has the very name.
    fn column(&self, name: &str) -> Option<Column<'r>> {
        let same = self.0.iter().find(|(field, _)| field == name);
        let found = same.or_else(|| {
            let mut fields = self.0.iter();
            fields.find(|(field, _)| field.eq_ignore_ascii_case(name))
        });
        found.map(|(field, value)| (&field[..], value))
    }

    /// A column that is not null.
    pub(crate) fn there(&self, name: &str) -> Option<Column<'r>> {
        self.column(name)
            .filter(|(_, value)| **value != Value::Null)
    }

    /// A column that holds something.
    pub(crate) fn filled(&self, name: &str) -> Option<Column<'r>> {
        self.column(name).filter(|(_, value)| value.is_filled())
    }

    /// A column by the name that was given, or a field within one; `None` where it is not there.
    pub(crate) fn named(&self, name: &'r str) -> Option<(&'r str, Column<'r>)> {
        if let Some((field, value)) = self.0.iter().find(|(field, _)| field == name) {
            return Some((&field[..], (&field[..], value)));
        }
        let (column, mut rest) = name.split_once('.')?;
        let found = self.0.iter().find(|(field, _)| field == column);
        let (field, mut value): (&'r str, &'r Value) = found.map(|(field, v)| (&field[..], v))?;
        loop {
            let (step, next) = rest
                .split_once('.')
                .map_or((rest, None), |(a, b)| (a, Some(b)));
            let Value::Object(fields) = value else {
                return None;
            };
            value = fields
                .iter()
                .find(|(field, _)| field == step)
                .map(|(_, value)| value)?;
            match next {
                Some(next) => rest = next,
                None => return Some((field, (name, value))),
            }
        }
    }
}

/// Finds by the table what stands where. With a column of questions that is not asked, none is.
pub(crate) fn find<'r>(
    fields: &Fields<'r>,
    names: &'r ColumnNames,
    not_asked: Option<&'r str>,
    tool: Option<Tool>,
    at: At<'_>,
) -> Result<Found<'r>, Error> {
    for (name, what) in REFUSED {
        if let Some((column, _)) = fields.filled(name) {
            return Err(at.error(column, format!("is filled: {what}")));
        }
    }
    let mut found = Found {
        known: vec!["id"],
        images_name: "images",
        no_answer: "row",
        ..Found::default()
    };
    match not_asked {
        Some(column) => found.known.push(column),
        None => find_question(&mut found, fields, names, at)?,
    }
    find_answer(&mut found, fields, names, tool, at)?;
    find_images(&mut found, fields, names, at)?;
    let systems = || SYSTEMS.iter().find_map(|name| fields.there(name));
    found.system = match &names.system {
        Some(name) => fields.named(name).map(|(column, system)| {
            found.known.push(column);
            system
        }),
        None => systems().inspect(|(column, _)| found.known.push(column)),
    };
    found.system = found.system.filter(|(_, value)| **value != Value::Null);
    for (place, name) in [(&mut found.choices, "choices"), (&mut found.split, "split")] {
        *place = fields.filled(name);
        if let Some((column, _)) = place {
            found.known.push(column);
        }
    }
    Ok(found)
}

fn find_question<'r>(
    found: &mut Found<'r>,
    fields: &Fields<'r>,
    names: &'r ColumnNames,
    at: At<'_>,
) -> Result<(), Error> {
    if let Some(name) = &names.question {
        let Some((column, question)) = fields.named(name) else {
            return Err(at.error(name, "was named as the question, and is not there"));
        };
        found.known.push(column);
        found.question = vec![question];
        found.question.retain(|(_, value)| **value != Value::Null);
        return Ok(());
    }
    let mut candidates: Vec<Vec<Column<'r>>> = Vec::new();
    let turns = TURNS.iter().filter_map(|name| fields.filled(name));
    candidates.extend(turns.map(|column| vec![column]));
    let input = fields.there(INPUT);
    for name in QUESTIONS {
        let halves = name == "instruction" && fields.filled(INPUT).is_some();
        let column = match halves {
            true => fields.there(name),
            false => fields.filled(name),
        };
        let Some(column) = column else {
            continue;
        };
        let both = [Some(column), input.filter(|_| name == "instruction")];
        candidates.push(both.into_iter().flatten().collect());
    }
    let instructed = fields.there("instruction").is_some();
    if let (false, Some(input)) = (instructed, fields.filled(INPUT)) {
        candidates.push(vec![input]);
    }
    let is_query = |columns: &Vec<Column<'_>>| columns[0].0.eq_ignore_ascii_case("query");
    let has_turns = candidates
        .iter()
        .any(|columns| TURNS.contains(&columns[0].0));
    if let (false, Some(place)) = (has_turns, candidates.iter().position(is_query)) {
        candidates = vec![candidates.swap_remove(place)];
    }
    if let [first, _, ..] = &candidates[..] {
        let names: Vec<String> = candidates.iter().map(|c| format!("`{}`", c[0].0)).collect();
        let message = format!(
            "{} could each be the question; name the one that is meant as the question's column",
            names.join(" and ")
        );
        return Err(at.error(first[0].0, message));
    }
    let empty = || {
        let names = TURNS.into_iter().chain(QUESTIONS);
        names.filter_map(|name| fields.there(name)).next()
    };
    found.question = match candidates.pop() {
        Some(columns) => columns,
        None => empty().into_iter().collect(),
    };
    found
        .known
        .extend(found.question.iter().map(|(column, _)| *column));
    if instructed
        && found
            .question
            .iter()
            .any(|(column, _)| *column == "instruction")
    {
        found.known.extend(input.map(|(column, _)| column));
    }
    Ok(())
}

fn find_answer<'r>(
    found: &mut Found<'r>,
    fields: &Fields<'r>,
    names: &'r ColumnNames,
    tool: Option<Tool>,
    at: At<'_>,
) -> Result<(), Error> {
    if let Some(name) = &names.answer {
        let Some((column, answer)) = fields.named(name) else {
            return Err(at.error(name, "was named as the answer, and is not there"));
        };
        found.known.push(column);
        found.no_answer = answer.0;
        found.truth = Some(answer).filter(|(_, value)| **value != Value::Null);
        if found.truth.is_none() {
            return Err(at.error(name, "is null; each row needs its answer"));
        }
        return Ok(());
    }
    if let Some((column, _)) = found.question.first().filter(|_| found.has_turns()) {
        found.no_answer = column;
    }
    for name in [SOLUTION, REWARD] {
        let Some((column, value)) = fields.column(name) else {
            continue;
        };
        found.known.push(column);
        found.no_answer = column;
        let value = match name {
            REWARD => value.get(TRUTH),
            _ => Some(value).filter(|value| **value != Value::Null),
        };
        if let (None, Some(value)) = (found.truth, value) {
            found.truth = Some((column, value));
        }
    }
    if found.truth.is_some() {
        return Ok(());
    }
    let is_asked = |column: &str| found.question.iter().any(|(asked, _)| *asked == column);
    let candidates: Vec<Column<'r>> = ANSWERS
        .iter()
        .filter_map(|name| fields.filled(name))
        .filter(|(column, _)| !is_asked(column))
        .collect();
    let label =
        match tool == Some(Tool::MsSwift) || found.has_turns() && found.no_answer != "prompt" {
            true => None,
            false => fields.there(LABEL),
        };
    found.answer = match candidates[..] {
        [] => label,
        [one] => Some(one),
        [first, ..] if first.0.eq_ignore_ascii_case("response") => Some(first),
        [first, ..] if found.has_turns() => Some(first),
        [first, second, ..] => {
            let message = format!(
                "`{}` and `{}` could each be the answer; name the one that is meant as the \
                 answer's column",
                first.0, second.0
            );
            return Err(at.error(first.0, message));
        }
    };
    found.known.extend(found.answer.map(|(column, _)| column));
    let empty = ANSWERS
        .iter()
        .chain([&LABEL])
        .find_map(|name| fields.column(name));
    if let (None, "row", Some((column, _))) = (found.answer, found.no_answer, empty) {
        found.no_answer = column;
    }
    Ok(())
}

fn find_images<'r>(
    found: &mut Found<'r>,
    fields: &Fields<'r>,
    names: &'r ColumnNames,
    at: At<'_>,
) -> Result<(), Error> {
    if let Some(name) = &names.images {
        let Some((column, images)) = fields.named(name) else {
            return Err(at.error(name, "was named as the images, and is not there"));
        };
        found.known.push(column);
        found.images_name = images.0;
        found.images = Some(images);
        return Ok(());
    }
    let columns: Vec<Column<'r>> = IMAGES
        .iter()
        .filter_map(|name| fields.column(name))
        .collect();
    found
        .known
        .extend(columns.iter().map(|(column, _)| *column));
    if let Some((column, _)) = columns.first() {
        found.images_name = column;
    }
    let filled: Vec<Column<'r>> = columns.into_iter().filter(|(_, v)| v.is_filled()).collect();
    if let [(first, _), (second, _)] = filled[..] {
        let message = format!("`{first}` and `{second}` are both filled; leave one, or name it");
        return Err(at.error(first, message));
    }
    if let Some((column, _)) = filled.first() {
        found.images_name = column;
    }
    found.images = filled.first().copied();
    Ok(())
}
