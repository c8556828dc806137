//! Objects of a file that are read into structs: a list is none.
//!
//! A struct that derives `Deserialize` also takes a list, by the order of its fields. In a file this
//! is never meant, and every value would go to the field that happens to stand there.

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// Where a reader is, by names and places, and the key that it read last.
#[derive(Default)]
struct Place {
    path: Vec<String>,
    key: String,
    refused: Option<String>,
}

type Trace = RefCell<Place>;

/// What JSON's bytes hold, where no list stands in an object's place.
///
/// # Errors
/// What the parser says; for a list the name of the field.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    from_json_in(bytes).map_err(|(error, _)| error)
}

/// As [`from_json`]; beside the error stands the field that is a list, if that is the error.
pub(super) fn from_json_in<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, (serde_json::Error, Option<String>)> {
    let trace = Trace::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(Objects::new(&mut json, &trace));
    let read = read.and_then(|value| json.end().map(|()| value));
    read.map_err(|error| (error, trace.into_inner().refused))
}

/// What a value holds, where no list stands in an object's place.
///
/// # Errors
/// As [`from_json`].
pub fn from_value<T: DeserializeOwned>(value: &serde_json::Value) -> Result<T, serde_json::Error> {
    let trace = Trace::default();
    T::deserialize(Objects::new(value, &trace))
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Any,
    Object,
    Key,
}

/// Gives what is within a deserializer, a seed or a visitor the trace.
struct Objects<'t, T> {
    inner: T,
    trace: &'t Trace,
    asked: Asked,
}

impl<'t, T> Objects<'t, T> {
    fn new(inner: T, trace: &'t Trace) -> Self {
        let asked = Asked::Any;
        Self {
            inner,
            trace,
            asked,
        }
    }

    fn key(inner: T, trace: &'t Trace) -> Self {
        let asked = Asked::Key;
        Self {
            inner,
            trace,
            asked,
        }
    }

    /// The visitor of what this deserializer gives.
    fn visitor<V>(&self, inner: V) -> Objects<'t, V> {
        let (trace, asked) = (self.trace, self.asked);
        Objects {
            inner,
            trace,
            asked,
        }
    }
}

macro_rules! deserialize {
    ($($method:ident($($name:ident: $kind:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(
            self,
            $($name: $kind,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            let visitor = self.visitor(visitor);
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let asked = Asked::Object;
        let visitor = Objects {
            asked,
            ..self.visitor(visitor)
        };
        self.inner.deserialize_struct(name, fields, visitor)
    }

    deserialize! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32()
        deserialize_i64() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
        deserialize_i128() deserialize_u128() deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string() deserialize_bytes()
        deserialize_byte_buf() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any() deserialize_option()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

/// Text, which may be a key.
macro_rules! visit_text {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: Error>(self, text: $kind) -> Result<V::Value, E> {
            if self.asked == Asked::Key {
                let mut place = self.trace.borrow_mut();
                place.key.clear();
                place.key.push_str(text.as_ref());
            }
            self.inner.$method(text)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32)
        visit_f64(f64) visit_char(char) visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8])
        visit_byte_buf(Vec<u8>)
    }

    visit_text! {
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Objects::new(inner, self.trace))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner
            .visit_newtype_struct(Objects::new(inner, self.trace))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.asked == Asked::Object {
            let mut place = self.trace.borrow_mut();
            let field = place.path.join(".");
            let message = match field.as_str() {
                "" => "is a list, expected an object".to_owned(),
                field => format!("`{field}` is a list, expected an object"),
            };
            place.refused = Some(field);
            return Err(A::Error::custom(message));
        }
        let (trace, next) = (self.trace, 0);
        self.inner.visit_seq(Elements { inner, trace, next })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Objects::new(inner, self.trace))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Objects::new(inner, self.trace))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let (trace, asked) = (self.trace, self.asked);
        self.inner.deserialize(Objects {
            inner,
            trace,
            asked,
        })
    }
}

struct Elements<'t, A> {
    inner: A,
    trace: &'t Trace,
    next: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.trace.borrow_mut().path.push(self.next.to_string());
        self.next += 1;
        let found = self.inner.next_element_seed(Objects::new(seed, self.trace));
        self.trace.borrow_mut().path.pop();
        found
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(Objects::key(seed, self.trace))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        {
            let mut place = self.trace.borrow_mut();
            let key = place.key.clone();
            place.path.push(key);
        }
        let found = self.inner.next_value_seed(Objects::new(seed, self.trace));
        self.trace.borrow_mut().path.pop();
        found
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 't, A: EnumAccess<'de>> EnumAccess<'de> for Objects<'t, A> {
    type Error = A::Error;
    type Variant = Objects<'t, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Objects::new(variant, self.trace)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = Objects::new(seed, self.trace);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.visitor(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let asked = Asked::Object;
        let visitor = Objects {
            asked,
            ..self.visitor(visitor)
        };
        self.inner.struct_variant(fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        a: u32,
        #[serde(default)]
        b: Option<[u32; 2]>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        one: Option<Inner>,
        #[serde(default)]
        many: Vec<Inner>,
        #[serde(default)]
        named: BTreeMap<String, Inner>,
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        Whole(Inner),
        Parts { a: u32 },
    }

    #[test]
    fn a_list_is_no_object_at_any_depth() {
        for (text, field) in [
            ("[null]", ""),
            (r#"{"one": [1]}"#, "one"),
            (
                r#"{"one": null, "many": [{"a": 1}, [1, [2, 3]]]}"#,
                "many.1",
            ),
            (
                r#"{"one": null, "named": {"x": {"a": 1}, "y": []}}"#,
                "named.y",
            ),
            (r#"{"one": null, "kind": {"whole": [1]}}"#, "kind"),
            (r#"{"one": null, "kind": {"parts": [1]}}"#, "kind"),
        ] {
            let (error, refused) = from_json_in::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(refused.as_deref(), Some(field), "{text}: {error}");
            let error = error.to_string();
            assert!(error.contains("is a list, expected an object"), "{error}");
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(from_value::<Outer>(&value).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_right_is_read_as_ever() {
        let text = r#"{"one": {"a": 1, "b": [2, 3]}, "many": [{"a": 2}], "named": {"x": {"a": 3}},
            "kind": {"whole": {"a": 4}}}"#;
        let plain: Outer = serde_json::from_str(text).unwrap();
        assert_eq!(from_json::<Outer>(text.as_bytes()).unwrap(), plain);
        let parts = from_json::<Kind>(br#"{"parts": {"a": 1}}"#).unwrap();
        assert_eq!(parts, Kind::Parts { a: 1 });
        assert_eq!(from_json::<Kind>(br#""plain""#).unwrap(), Kind::Plain);
        for bad in [r#"{"one": {"a": "x"}}"#, r#"{"one": null} x"#, "{"] {
            let (error, refused) = from_json_in::<Outer>(bad.as_bytes()).unwrap_err();
            let plain = serde_json::from_str::<Outer>(bad).unwrap_err();
            assert_eq!((error.to_string(), refused), (plain.to_string(), None));
        }
    }
}
