use crate::sources::rows::value::Value;

/// The numbers of a JSON text in their order, as they are written: `2.50` and `1e3` keep their
/// digits, and an integer may have any number of them.
///
/// The text must be one that a parser took: outside of texts a number then begins where a digit or a
/// minus stands.
pub(crate) struct Numbers<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Numbers<'t> {
    /// Those of a text, from its start.
    pub(crate) fn of(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Gives the numbers of a value, which is the next one of the text, their digits.
    pub(crate) fn write_into(&mut self, value: &mut Value) {
        match value {
            Value::Number(number) => {
                if let Some(written) = self.next() {
                    written.clone_into(number);
                }
            }
            Value::List(values) => values.iter_mut().for_each(|value| self.write_into(value)),
            Value::Object(fields) => {
                let values = fields.iter_mut().map(|(_, value)| value);
                values.for_each(|value| self.write_into(value));
            }
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Bytes(_) => {}
        }
    }
}

impl<'t> Iterator for Numbers<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            match *self.text.get(self.at)? {
                b'"' => self.at += text_length(&self.text[self.at..]),
                b'-' | b'0'..=b'9' => break,
                _ => self.at += 1,
            }
        }
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        self.at += length;
        std::str::from_utf8(&rest[..length]).ok()
    }
}

/// The length of the text in quotes that some bytes begin with.
fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(text: &str) -> Vec<&str> {
        Numbers::of(text.as_bytes()).collect()
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text =
            r#"{"a-1": [2.50, -0, 1e3, "3 \" 4\\", 1E-7], "b": {"c": 18446744073709551617}}"#;
        let written = ["2.50", "-0", "1e3", "1E-7", "18446744073709551617"];
        assert_eq!(numbers(text), written);
        let Value::Object(fields) = Value::of_json(text.as_bytes()).unwrap() else {
            panic!();
        };
        let Value::List(list) = &fields[0].1 else {
            panic!();
        };
        let list: Vec<_> = list.iter().filter_map(Value::text).collect();
        assert_eq!(list, ["2.50", "-0", "1e3", "3 \" 4\\", "1E-7"]);
        let long = fields[1].1.get("c").and_then(Value::text);
        assert_eq!(long.as_deref(), Some("18446744073709551617"));
    }

    proptest! {
        #[test]
        fn a_number_between_any_texts_is_found(
            before in ".{0,20}", key in ".{0,20}", number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?",
        ) {
            let text = |text: &str| serde_json::to_string(text).unwrap();
            let json = format!("[{}, {{{}: {number}}}, {number}]", text(&before), text(&key));
            let Value::List(list) = Value::of_json(json.as_bytes()).unwrap() else {
                panic!();
            };
            prop_assert_eq!(list[2].text(), Some(number.clone()));
            prop_assert_eq!(&list[1], &Value::Object(vec![(key, Value::Number(number))]));
        }
    }
}
