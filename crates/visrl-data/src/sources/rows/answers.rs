use crate::error::Error;
use crate::plain_label::{holds_more, plain_label};
use crate::sources::rows::at::At;
use crate::sources::rows::marks::check_bare;
use crate::sources::rows::value::Value;

/// An answer as a label.
pub(crate) struct Answer {
    pub(crate) label: String,
    /// Whether there was more, such as a thought.
    pub(crate) more: bool,
}

/// The label that a value means: a text, a number as it is written, the member of a list of one.
pub(crate) fn answer(value: &Value, at: At<'_>, column: &str) -> Result<Answer, Error> {
    if let Value::List(list) = value {
        let mut members = list.iter().filter(|member| **member != Value::Null);
        return match (members.next(), members.next()) {
            (Some(one), None) => answer(one, at, column),
            (None, _) => Err(at.error(column, "is an empty list; give the answer")),
            (Some(_), Some(_)) => {
                let message = "is a list of several; one answer is read";
                Err(at.error(column, message))
            }
        };
    }
    let text = value.text().ok_or_else(|| {
        let message = format!(
            "is {}, where the answer is expected as a text",
            value.kind()
        );
        at.error(column, message)
    })?;
    if matches!(value, Value::Number(_)) && !text.ends_with(|c: char| c.is_ascii_digit()) {
        let message = format!("is {text}, which is no answer");
        return Err(at.error(column, message));
    }
    check_bare(&text, at, column)?;
    let name = plain_label(&text).map_err(|fault| at.error(column, fault.to_string()))?;
    let label = without_mathematics(&name);
    if label.is_empty() {
        return Err(at.error(column, "is empty; give the class or the answer"));
    }
    if is_structure(label) {
        let message = format!("`{label}` is no name: objects and coordinates are no answers here");
        return Err(at.error(column, message));
    }
    Ok(Answer {
        more: holds_more(&text, &name),
        label: label.to_owned(),
    })
}

/// Whether two values are one answer.
pub(crate) fn is_same(a: &Value, b: &Value, at: At<'_>) -> bool {
    let label = |value| answer(value, at, "").ok().map(|answer| answer.label);
    label(a).is_some_and(|a| Some(a) == label(b))
}

/// What stands between `$`s.
fn dollars(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?.strip_suffix('$')?;
    let twice = inner
        .strip_prefix('$')
        .and_then(|text| text.strip_suffix('$'));
    let inner = twice.unwrap_or(inner);
    (!inner.is_empty() && !inner.contains('$')).then_some(inner)
}

/// A text without `$`s, `\boxed{}` and then `\text{}` that stand around the whole of it.
fn without_mathematics(text: &str) -> &str {
    let bare = dollars(text).unwrap_or(text).trim();
    let Some(boxed) = within(bare, "\\boxed{") else {
        return texted(bare);
    };
    let boxed = dollars(boxed.trim()).unwrap_or(boxed).trim();
    texted(boxed)
}

fn texted(text: &str) -> &str {
    within(text, "\\text{").map_or(text, str::trim)
}

/// What stands in the braces that an opening begins, where they close at the end.
fn within<'t>(text: &'t str, open: &str) -> Option<&'t str> {
    let inner = text.strip_prefix(open)?.strip_suffix('}')?;
    let mut depth = 0i64;
    for byte in inner.bytes() {
        depth += match byte {
            b'{' => 1,
            b'}' => -1,
            _ => 0,
        };
        if depth < 0 {
            return None;
        }
    }
    (depth == 0).then_some(inner)
}

/// Whether a text is a list, an object or coordinates.
fn is_structure(text: &str) -> bool {
    if !text.starts_with(['[', '{', '(']) {
        return false;
    }
    let value = Value::of_json(text.as_bytes());
    if matches!(value, Ok(Value::List(_) | Value::Object(_))) {
        return true;
    }
    let is_coordinate = |c: char| c.is_ascii_digit() || " ,.-()[]".contains(c);
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    text.chars().all(is_coordinate) && numbers.filter(|number| !number.is_empty()).count() >= 4
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_stands_around_an_answer_is_taken_off() {
        let at = At::row(Path::new("f"), 0);
        let label = |json: &str| {
            let value = Value::of_json(json.as_bytes()).unwrap();
            answer(&value, at, "solution").map(|answer| (answer.label, answer.more))
        };
        for (json, name) in [
            (r#"" kite\n""#, "kite"),
            ("3", "3"),
            ("2.50", "2.50"),
            ("-0", "-0"),
            ("1e3", "1e3"),
            ("18446744073709551617", "18446744073709551617"),
            (r#"["kite"]"#, "kite"),
            (r#""<answer>\nkite </answer>""#, "kite"),
            (r#""$3$""#, "3"),
            (r#""$$ 3 $$""#, "3"),
            (r#""\\boxed{kite}""#, "kite"),
            (r#""$\\boxed{\\text{a kite}}$""#, "a kite"),
            (r#""<answer>\\boxed{3}</answer>""#, "3"),
            (r#""\\text{a kite}""#, "a kite"),
            (r#""\\text{a} or \\text{b}""#, "\\text{a} or \\text{b}"),
            (r#""$5 and $6""#, "$5 and $6"),
            (r#""(A)""#, "(A)"),
            (r#""\\frac{1}{2}""#, "\\frac{1}{2}"),
        ] {
            assert_eq!(label(json).unwrap(), (name.to_owned(), false), "{json}");
        }
        assert!(
            label(r#""<think>red</think><answer>kite</answer>""#)
                .unwrap()
                .1
        );
        for json in [
            r#""""#,
            r#""<answer> </answer>""#,
            r#"["a", "b"]"#,
            "[]",
            "{}",
            "[1, 2, 3, 4]",
            r#""[1, 2, 3, 4]""#,
            r#""(1,2),(3,4)""#,
            r#""$ $""#,
            r#""<answer>a</answer><answer>b</answer>""#,
            r#""kite<|im_end|>""#,
            r#""<image>kite""#,
        ] {
            let message = label(json).unwrap_err().to_string();
            assert!(
                message.starts_with("f: row 0: field `solution`: "),
                "{message}"
            );
        }
    }
}
