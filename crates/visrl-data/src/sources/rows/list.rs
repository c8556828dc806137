use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::plain_label::{are_alike, reader_key};
use crate::sources::rows::answers::answer;
use crate::sources::rows::at::At;
use crate::sources::rows::marks::Piece;
use crate::sources::rows::told::{Fact, Told};
use crate::sources::rows::value::Value;

/// How the paper's data begin a list of choices that stands in a question.
const START: &str = "Please choose one from list [";

/// The choices of a column.
pub(crate) fn choices(value: &Value, at: At<'_>, column: &str) -> Result<Vec<String>, Error> {
    let Value::List(list) = value else {
        let message = format!("is {}, expected is a list of texts", value.kind());
        return Err(at.error(column, message));
    };
    let names = list
        .iter()
        .map(|choice| Ok(answer(choice, at, column)?.label));
    let names = names.collect::<Result<Vec<_>, Error>>()?;
    match twice(&names) {
        Some(name) => Err(at.error(column, format!("holds `{name}` twice; leave one"))),
        None => Ok(names),
    }
}

/// Takes the list of choices off the end of a question, where it has one; a template asks it again.
/// The label of the row may have commas in it.
pub(crate) fn take_list(pieces: &mut [Piece], label: &str) -> Option<Vec<String>> {
    let Some(Piece::Text(text)) = pieces.last_mut() else {
        return None;
    };
    let (question, list) = text.trim_end().rsplit_once(START)?;
    let list = list.strip_suffix('.').unwrap_or(list).strip_suffix(']')?;
    let names = names(list, label);
    if names.iter().any(String::is_empty) {
        return None;
    }
    *text = question.trim_end().to_owned();
    Some(names)
}

/// Whether a question holds a list of choices.
pub(crate) fn holds_list(pieces: &[Piece]) -> bool {
    let mut pieces = pieces.iter();
    pieces.any(|piece| matches!(piece, Piece::Text(text) if text.contains(START)))
}

/// Refuses a list in a question that has other names than the row's column of choices.
pub(crate) fn check_same(
    asked: &[String],
    names: &[String],
    at: At<'_>,
    (question, column): (&str, &str),
) -> Result<(), Error> {
    let [of_question, of_column]: [HashSet<&String>; 2] =
        [asked, names].map(|names| names.iter().collect());
    if of_question == of_column {
        return Ok(());
    }
    let message = format!(
        "are [ {}], and `{question}` ends in the list [ {}]; leave one of the two",
        names.join(", "),
        asked.join(", ")
    );
    Err(at.error(column, message))
}

/// The names of a list between commas, of which those in the label part none.
fn names(list: &str, label: &str) -> Vec<String> {
    let split = |list: &str| -> Vec<String> {
        let names = list.split(',');
        names.map(|name| name.trim().to_owned()).collect()
    };
    let mut places = list.match_indices(label).filter(|_| label.contains(','));
    let whole = places.find_map(|(place, _)| {
        let (before, after) = (&list[..place], &list[place + label.len()..]);
        let (before, after) = (before.trim_end(), after.trim_start());
        let is_first = before.is_empty() || before.ends_with(',');
        let is_last = after.is_empty() || after.starts_with(',');
        (is_first && is_last).then_some((before.strip_suffix(','), after.strip_prefix(',')))
    });
    let Some((before, after)) = whole else {
        return split(list);
    };
    let before = before.map(split).unwrap_or_default();
    let after = after.map(split).unwrap_or_default();
    [before, vec![label.to_owned()], after].concat()
}

/// Checks the choices of a row against its label. A name that a list in a question has twice is
/// shown once, as the paper's lists have some; that is told, and so are two that are one to a reader.
pub(crate) fn checked(
    mut names: Vec<String>,
    label: &str,
    at: At<'_>,
    column: &str,
    told: &mut Told,
) -> Result<Vec<String>, Error> {
    if !names.iter().any(|name| name == label) {
        let message = format!(
            "has the choices [ {}], of which none is `{label}`, the row's answer: no answer would \
             be right; add it, or correct the row",
            names.join(", ")
        );
        return Err(at.error(column, message));
    }
    if let Some(name) = twice(&names) {
        let fact = format!("has `{name}` twice in its list of choices, which is shown once");
        told.fact(at, column, Fact::Twice, &fact);
        let mut known = HashSet::new();
        names.retain(|name| known.insert(name.clone()));
    }
    let mut first: HashMap<String, &String> = HashMap::with_capacity(names.len());
    let mut alike = names.iter().filter_map(|name| {
        let other = *first.entry(reader_key(name)).or_insert(name);
        are_alike(other, name).then_some((other, name))
    });
    if let Some((a, b)) = alike.next() {
        let fact = format!(
            "has the choices `{a}` and `{b}`, which differ in case or blanks alone; they are taken \
             for different ones"
        );
        told.fact(at, column, Fact::Alike, &fact);
    }
    Ok(names)
}

/// A name that a list has twice.
fn twice(names: &[String]) -> Option<&str> {
    let mut known = HashSet::with_capacity(names.len());
    let mut again = names.iter().filter(|name| !known.insert(&name[..]));
    again.next().map(|name| &name[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_off_the_end() {
        let take = |text: &str| {
            let mut pieces = [Piece::Text(text.into())];
            let names = take_list(&mut pieces, "x, y");
            let [Piece::Text(text)] = pieces else {
                panic!()
            };
            (text, names.map(|names| names.join("|")))
        };
        let list = Some("a b|c".to_owned());
        let text = "Which? Please choose one from list [ a, x, y, z, x]";
        assert_eq!(take(text).1.unwrap(), "a|x, y|z|x");
        let asked = "Which?".to_owned();
        for end in ["\nPlease", " Please"] {
            let text = format!("Which?{end} choose one from list [ a b, c].");
            assert_eq!(take(&text), (asked.clone(), list.clone()));
        }
        for text in ["Which?", "Please choose one from list [ a, b]. Be brief."] {
            assert_eq!(take(text), (text.to_owned(), None));
        }
    }

    #[test]
    fn choices_are_checked_against_the_label() {
        let check = |json: &str, label: &str| {
            let value = Value::of_json(json.as_bytes()).unwrap();
            let at = At::line(std::path::Path::new("f"), 4);
            let mut told = Told::default();
            let found = choices(&value, at, "choices")
                .and_then(|names| checked(names, label, at, "choices", &mut told));
            let found = found
                .map(|names| names.join("|"))
                .map_err(|error| error.to_string());
            (found, told)
        };
        assert_eq!(
            check(r#"["a", "<answer>b</answer>", 2.50]"#, "b")
                .0
                .unwrap(),
            "a|b|2.50"
        );
        let fault = |json| check(json, "b").0.unwrap_err();
        let start = "f: line 4: field `choices`: ";
        let none = fault(r#"["a", "c"]"#);
        assert!(none.starts_with(&format!(
            "{start}has the choices [ a, c], of which none is `b`"
        )));
        assert_eq!(
            fault(r#"["b", "b "]"#),
            format!("{start}holds `b` twice; leave one")
        );
        let (found, told) = check(r#"["bee", "Bee"]"#, "bee");
        assert_eq!(found.unwrap(), "bee|Bee");
        let told = visrl_testing::warnings_of(|| told.tell(std::path::Path::new("f"))).1;
        assert!(told[0].contains("`bee` and `Bee`"), "{told:?}");
    }
}
