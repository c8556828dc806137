//! JSON as Python's `json` writes it: what a parser does not say of a text.

use std::collections::HashSet;

/// What a text holds beside its values.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Findings {
    /// The first number that JSON does not have (`NaN`, `Infinity`), with its field.
    pub(super) no_number: Option<(String, &'static str)>,
    /// The first field that is there twice.
    pub(super) twice: Option<String>,
}

/// What a byte order mark at the beginning says of a file, if there is one.
pub(super) fn byte_order_mark(bytes: &[u8]) -> Option<&'static str> {
    let marks: [(&[u8], &str); 3] = [
        (b"\xef\xbb\xbf", "UTF-8 with a byte order mark"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ];
    let found = marks.into_iter().find(|(mark, _)| bytes.starts_with(mark));
    found.map(|(_, what)| what)
}

/// Looks through a text once, whether it is whole or not.
pub(super) fn look_through(text: &[u8]) -> Findings {
    let mut found = Findings::default();
    let mut open: Vec<Level> = Vec::new();
    let mut last: &[u8] = b"";
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                let end = end_of_string(text, at);
                last = &text[at + 1..end.min(text.len())];
                at = end;
            }
            b'{' => open.push(Level::Object(String::new(), HashSet::new())),
            b'[' => open.push(Level::Array(0)),
            b'}' | b']' => {
                open.pop();
            }
            b':' => {
                if let Some(Level::Object(key, keys)) = open.last_mut() {
                    *key = String::from_utf8_lossy(last).into_owned();
                    if !keys.insert(key.clone()) && found.twice.is_none() {
                        found.twice = Some(field(&open));
                    }
                }
            }
            b',' => {
                if let Some(Level::Array(place)) = open.last_mut() {
                    *place += 1;
                }
            }
            _ => {
                let rest = &text[at..];
                let number = ["NaN", "Infinity", "-Infinity"];
                let number = number
                    .into_iter()
                    .find(|name| rest.starts_with(name.as_bytes()));
                if let Some(number) = number {
                    found
                        .no_number
                        .get_or_insert_with(|| (field(&open), number));
                    at += number.len() - 1;
                }
            }
        }
        at += 1;
    }
    found
}

/// An object or a list that has begun: the key or the place of what is read in it.
enum Level {
    Object(String, HashSet<String>),
    Array(usize),
}

/// The name of what is read, with dots between levels.
fn field(open: &[Level]) -> String {
    let names = open.iter().map(|level| match level {
        Level::Object(key, _) => key.clone(),
        Level::Array(place) => place.to_string(),
    });
    names.collect::<Vec<_>>().join(".")
}

/// Where a string ends that begins at a quotation mark: its other one, or the end of the text.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_have_their_field() {
        for (text, field, number) in [
            (r#"{"a": 1, "lora_alpha": NaN}"#, "lora_alpha", "NaN"),
            (
                r#"{"a": {"b": [1, "\"NaN", -Infinity]}}"#,
                "a.b.2",
                "-Infinity",
            ),
            (r#"{"a": [], "b": Infinity"#, "b", "Infinity"),
        ] {
            let found = look_through(text.as_bytes());
            assert_eq!(found.no_number, Some((field.to_owned(), number)), "{text}");
        }
        assert_eq!(
            look_through(br#"{"NaN": "NaN, Infinity"}"#),
            Findings::default()
        );
        assert_eq!(look_through(br#"{"a": "\"#), Findings::default());
    }

    #[test]
    fn fields_that_are_there_twice_are_found_at_any_depth() {
        for (text, twice) in [
            (r#"{"a": 1, "b": 2, "a": 1}"#, Some("a")),
            (
                r#"{"a": [{"b": 1}, {"b": 1, "c": "x", "b": 2}]}"#,
                Some("a.1.b"),
            ),
            (r#"{"a": {"a": 1}, "b": [{"a": 1}, {"a": "a"}]}"#, None),
        ] {
            assert_eq!(
                look_through(text.as_bytes()).twice.as_deref(),
                twice,
                "{text}"
            );
        }
    }

    #[test]
    fn marks_of_the_byte_order_are_told_apart() {
        assert_eq!(
            byte_order_mark(b"\xef\xbb\xbf{}"),
            Some("UTF-8 with a byte order mark")
        );
        assert_eq!(byte_order_mark(b"\xff\xfe{\0"), Some("UTF-16"));
        assert_eq!(byte_order_mark(b"{}"), None);
    }
}
