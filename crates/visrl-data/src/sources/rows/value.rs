use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::sources::rows::numbers::Numbers;

/// A value of a row, from JSON, parquet or YAML.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number: in JSON as it is written there ([`Value::of_json`]), in parquet as Python writes
    /// it.
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    /// A structure, its fields in the file's order and no name twice.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The value in a JSON text, its numbers as they are written there.
    ///
    /// # Errors
    /// What the parser says.
    pub(crate) fn of_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut value = serde_json::from_slice(text)?;
        Numbers::of(text).write_into(&mut value);
        Ok(value)
    }

    /// A field of a structure; nothing where it is null or not there.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let Self::Object(fields) = self else {
            return None;
        };
        let found = fields.iter().find(|(field, _)| field == name);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Self::Null)
    }

    /// A text, or a number or a truth value as one: what is text may have been stored bare.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// Whether there is anything in it: not null, and neither an empty text nor a list or a
    /// structure of nothing.
    pub(crate) fn is_filled(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(_) | Self::Number(_) => true,
            Self::Text(text) => !text.trim().is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(values) => values.iter().any(Self::is_filled),
            Self::Object(fields) => fields.iter().any(|(_, value)| value.is_filled()),
        }
    }

    /// What kind of value it is, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(value);
        Ok(number.map_or(Value::Null, |number| Value::Number(number.to_string())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if fields.iter().any(|(field, _)| *field == name) {
                let message = format!("the field `{name}` is there twice");
                return Err(serde::de::Error::custom(message));
            }
            fields.push((name, value));
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_they_are_written() {
        let json = r#"{"a": [1, 2.5, "x", null, true], "b": {"c": ""}}"#;
        let value = Value::of_json(json.as_bytes()).unwrap();
        let Some(Value::List(list)) = value.get("a") else {
            panic!("{value:?}");
        };
        let texts: Vec<_> = list.iter().map(Value::text).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            texts,
            [text("1"), text("2.5"), text("x"), None, text("true")]
        );
        assert!(list[0].is_filled() && !list[3].is_filled());
        assert!(value.is_filled() && !value.get("b").unwrap().is_filled());
        let twice = serde_json::from_str::<Value>(r#"{"a": 1, "a": 2}"#).unwrap_err();
        assert!(
            twice
                .to_string()
                .starts_with("the field `a` is there twice")
        );
    }
}
