use std::borrow::Cow;

use crate::error::Error;
use crate::sources::rows::at::At;
use crate::sources::rows::marks::{Piece, check_bare, pieces, push};
use crate::sources::rows::told::Told;
use crate::sources::rows::value::Value;

/// How the turns of a file are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TurnNames {
    /// `role` and `content`, or `from` and `value`, with the usual roles; or pairs of these.
    Usual,
    /// Two turns, whoever speaks: the question and the answer.
    InOrder,
    /// As an entry of `dataset_info.json` names them; what it does not name does not exist.
    Named(TurnTags),
}

/// The keys and roles that an entry of `dataset_info.json` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnTags {
    pub(crate) role: String,
    pub(crate) content: String,
    pub(crate) user: Option<String>,
    pub(crate) assistant: Option<String>,
    pub(crate) system: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
}

const USER: [&str; 2] = ["user", "human"];
const ASSISTANT: [&str; 3] = ["assistant", "gpt", "bot"];
const TOOLS: [&str; 6] = [
    "tool",
    "tool_call",
    "tool_response",
    "function",
    "function_call",
    "observation",
];

/// One question with its answer, as turns hold them.
pub(crate) struct Turns<'r> {
    pub(crate) system: Option<String>,
    pub(crate) question: &'r Value,
    pub(crate) answer: Option<&'r Value>,
}

/// The columns of a row, with turns that are a JSON text as the list that they are.
pub(crate) fn with_turns(columns: &[(String, Value)]) -> Cow<'_, [(String, Value)]> {
    let mut columns = Cow::Borrowed(columns);
    for place in 0..columns.len() {
        if let Some(turns) = written_turns(&columns[place].1) {
            columns.to_mut()[place].1 = turns;
        }
    }
    columns
}

/// A list of turns that stands in a row as a JSON text, as tables of texts keep it.
fn written_turns(value: &Value) -> Option<Value> {
    let Value::Text(text) = value else {
        return None;
    };
    if !text
        .trim_start()
        .strip_prefix('[')?
        .trim_start()
        .starts_with('{')
    {
        return None;
    }
    let list = Value::of_json(text.as_bytes()).ok()?;
    let Value::List(turns) = &list else {
        return None;
    };
    let is_turn = |turn: &Value| {
        let keys = [("role", "content"), ("from", "value")];
        let mut keys = keys.into_iter();
        keys.any(|(by, said)| turn.get(by).is_some() && turn.get(said).is_some())
            || pair(turn).is_some()
    };
    turns.iter().all(is_turn).then_some(list)
}

/// Reads a column of turns.
pub(crate) fn turns<'r>(
    value: &'r Value,
    names: &TurnNames,
    at: At<'_>,
    column: &str,
    told: &mut Told,
) -> Result<Turns<'r>, Error> {
    let Value::List(list) = value else {
        let message = format!("is {}, where turns are expected as a list", value.kind());
        return Err(at.error(column, message));
    };
    let mut said: Vec<(Speaker, &Value)> = Vec::new();
    for (number, turn) in list.iter().enumerate() {
        let fail = |message: String| at.error(column, format!("turn {number} {message}"));
        let Value::Object(fields) = turn else {
            return Err(fail(format!("is {}, expected is an object", turn.kind())));
        };
        if let (TurnNames::Usual, Some([asked, answered])) = (names, pair(turn)) {
            let keys = [asked.0, answered.0];
            let others = fields
                .iter()
                .filter(|(field, value)| value.is_filled() && !keys.contains(&&field[..]));
            others.for_each(|(field, _)| told.part(column, field));
            said.extend([(Speaker::User, asked.1), (Speaker::Assistant, answered.1)]);
            continue;
        }
        let (role, content) = match names {
            TurnNames::Named(tags) => (&tags.role[..], &tags.content[..]),
            _ => keys(turn),
        };
        let speaker = match names {
            TurnNames::InOrder if number == 0 => Speaker::User,
            TurnNames::InOrder => Speaker::Assistant,
            names => {
                let name = turn
                    .get(role)
                    .and_then(Value::text)
                    .ok_or_else(|| fail(format!("has no `{role}`")))?;
                speaker(&name, names).map_err(fail)?
            }
        };
        let text = turn.get(content);
        said.push((
            speaker,
            text.ok_or_else(|| fail(format!("has no `{content}`")))?,
        ));
        for (field, value) in fields {
            if field == "tool_calls" && value.is_filled() {
                return Err(fail("calls tools; an answer is a text".into()));
            }
            if value.is_filled() && field != role && field != content {
                told.part(column, field);
            }
        }
    }
    in_order(&said, at, column)
}

/// Checks that there is one question, then one answer at most.
fn in_order<'r>(
    said: &[(Speaker, &'r Value)],
    at: At<'_>,
    column: &str,
) -> Result<Turns<'r>, Error> {
    let count = |of| said.iter().filter(|(speaker, _)| *speaker == of).count();
    let (systems, users) = (count(Speaker::System), count(Speaker::User));
    let assistants = count(Speaker::Assistant);
    let starts = said.first().is_some_and(|(by, _)| *by == Speaker::System);
    let rest = &said[usize::from(starts)..];
    let message = match (systems, users, assistants) {
        (2.., ..) => "has several system turns".into(),
        (1, ..) if !starts => "has its system turn behind others".into(),
        (_, 0, _) => "has no turn of the user; the question is missing".into(),
        (_, 2.., _) | (_, _, 2..) => {
            format!("has {users} questions and {assistants} answers; one of each is read")
        }
        _ if rest
            .first()
            .is_some_and(|(by, _)| *by == Speaker::Assistant) =>
        {
            "has the answer before the question".into()
        }
        _ => String::new(),
    };
    if !message.is_empty() {
        return Err(at.error(column, message));
    }
    let of = |speaker| {
        let found = said.iter().find(|(by, _)| *by == speaker);
        found.map(|(_, content)| *content)
    };
    let system = of(Speaker::System)
        .map(|content| {
            let text = bare(content, at, column)?;
            check_bare(&text, at, column).map(|()| text)
        })
        .transpose()?;
    Ok(Turns {
        system,
        // Checked above: there is a question.
        question: of(Speaker::User).unwrap_or(&Value::Null),
        answer: of(Speaker::Assistant),
    })
}

/// A question and an answer in one structure, with their keys.
fn pair(turn: &Value) -> Option<[(&'static str, &Value); 2]> {
    let find = |names: &[&'static str]| {
        let mut names = names.iter();
        names.find_map(|name| Some((*name, turn.get(name)?)))
    };
    if turn.get("role").or(turn.get("from")).is_some() {
        return None;
    }
    Some([find(&USER)?, find(&ASSISTANT)?])
}

/// The keys of who speaks and of what is said.
fn keys(turn: &Value) -> (&'static str, &'static str) {
    match turn.get("from").is_some() && turn.get("role").is_none() {
        true => ("from", "value"),
        false => ("role", "content"),
    }
}

fn speaker(role: &str, names: &TurnNames) -> Result<Speaker, String> {
    let is = |name: &Option<String>| name.as_deref() == Some(role);
    let found = match names {
        TurnNames::Named(tags) if is(&tags.user) => Some(Speaker::User),
        TurnNames::Named(tags) if is(&tags.assistant) => Some(Speaker::Assistant),
        TurnNames::Named(tags) if is(&tags.system) => Some(Speaker::System),
        TurnNames::Named(_) => None,
        _ if USER.contains(&role) => Some(Speaker::User),
        _ if ASSISTANT.contains(&role) => Some(Speaker::Assistant),
        _ if role == "system" => Some(Speaker::System),
        _ => None,
    };
    found.ok_or_else(|| match TOOLS.contains(&role) {
        true => format!("is of the role `{role}`; turns of tools are not read"),
        false => format!("is of the role `{role}`, which is none of system, user and assistant"),
    })
}

/// The pieces of a user's turn: a text with marks, or a list of parts.
pub(crate) fn question_pieces(
    content: &Value,
    at: At<'_>,
    column: &str,
    told: &mut Told,
) -> Result<Vec<Piece>, Error> {
    let parts = match content {
        Value::List(parts) => &parts[..],
        one => std::slice::from_ref(one),
    };
    let mut found = Vec::new();
    for part in parts {
        let more = match part {
            Value::Object(_) => of_part(part, at, column, told)?,
            other => {
                let text = other.text().ok_or_else(|| {
                    let message = format!("holds {}, where a text is expected", other.kind());
                    at.error(column, message)
                })?;
                pieces(&text, at, column, false)?
            }
        };
        for piece in more {
            match piece {
                Piece::Text(text) => push(&mut found, &text),
                other => found.push(other),
            }
        }
    }
    Ok(found)
}

const IMAGE_KEYS: [&str; 6] = ["image", "image_url", "url", "path", "base64", "source"];

fn of_part(part: &Value, at: At<'_>, column: &str, told: &mut Told) -> Result<Vec<Piece>, Error> {
    let image = IMAGE_KEYS.into_iter().find(|key| part.get(key).is_some());
    let kind = match part.get("type").and_then(Value::text) {
        Some(kind) => kind,
        None if part.get("text").is_some() => "text".into(),
        None => image.unwrap_or_default().into(),
    };
    let (piece, used) = match &kind[..] {
        "text" | "input_text" => {
            let text = part.get("text").and_then(Value::text);
            let text = text.ok_or_else(|| {
                let message = "has a part of the type `text` without a `text`; give its text";
                at.error(column, message)
            })?;
            (pieces(&text, at, column, false)?, "text")
        }
        "image" | "image_url" | "input_image" | "url" | "path" | "base64" | "source" => {
            let piece = match image.and_then(|key| part.get(key)) {
                Some(image) => Piece::Image(image.clone()),
                None => Piece::Place { is_part: true },
            };
            (vec![piece], image.unwrap_or_default())
        }
        other => {
            let message = format!("has a part of the type `{other}`; texts and images are read");
            return Err(at.error(column, message));
        }
    };
    if let Value::Object(fields) = part {
        for (field, value) in fields {
            if value.is_filled() && field != "type" && field != used {
                told.part(column, field);
            }
        }
    }
    Ok(piece)
}

/// A turn that is text alone: the system's, or an answer.
pub(crate) fn bare(content: &Value, at: At<'_>, column: &str) -> Result<String, Error> {
    let Value::List(parts) = content else {
        return content.text().ok_or_else(|| {
            let message = format!("holds {}, where a text is expected", content.kind());
            at.error(column, message)
        });
    };
    let mut text = String::new();
    for part in parts {
        let kind = part.get("type").and_then(Value::text);
        let is_text = matches!(kind.as_deref(), None | Some("text" | "input_text"));
        let said = part.get("text").unwrap_or(part);
        let said = said
            .text()
            .filter(|_| is_text)
            .ok_or_else(|| at.error(column, "has a part that is no text outside the question"))?;
        text.push_str(&said);
    }
    Ok(text)
}
