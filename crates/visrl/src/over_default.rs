//! Tables of a file laid over defaults, at any depth.
//!
//! A struct with `#[serde(default)]` takes what a table leaves out from the defaults of the table's
//! own type. Where the struct around it has other defaults for that table, naming one option would
//! change the others. Here what is left out comes from the outermost defaults.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Reads a value of which each struct, at any depth, takes what it leaves out from `default`.
/// Enums that tell their kind by a tag are taken as they are.
pub(crate) struct OverDefault<D> {
    inner: D,
    default: Option<Value>,
}

impl<D> OverDefault<D> {
    pub(crate) fn new(inner: D, default: Value) -> Self {
        Self {
            inner,
            default: Some(default),
        }
    }
}

/// A method that leaves the value as it is.
macro_rules! as_it_is {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for OverDefault<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let default = match self.default {
            Some(Value::Object(default)) => default,
            _ => Map::new(),
        };
        let visitor = Over { visitor, default };
        self.inner.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let default = self.default;
        let visitor = Optional { visitor, default };
        self.inner.deserialize_option(visitor)
    }

    as_it_is! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i128 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Gives a struct's visitor the fields that are there, then the defaults of the others.
struct Over<V> {
    visitor: V,
    default: Map<String, Value>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Over<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let default = self.default;
        self.visitor.visit_map(OverMap {
            map: Some(map),
            default,
            here: None,
        })
    }
}

struct OverMap<A> {
    /// What is there; nothing when it was given.
    map: Option<A>,
    /// The defaults of what was not met yet.
    default: Map<String, Value>,
    /// The default of the field whose key was given.
    here: Option<Value>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OverMap<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(map) = &mut self.map else {
            return self.next_default(seed);
        };
        let mut name = None;
        let mut seed = Some(seed);
        let key = Key {
            seed: &mut seed,
            name: &mut name,
        };
        if let Some(key) = map.next_key_seed(key)? {
            self.here = name.and_then(|name| self.default.shift_remove(&name));
            return Ok(Some(key));
        }
        self.map = None;
        match seed {
            Some(seed) => self.next_default(seed),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let default = self.here.take();
        match &mut self.map {
            Some(map) => map.next_value_seed(OverValue { seed, default }),
            None => {
                let value = default.unwrap_or(Value::Null);
                seed.deserialize(value).map_err(A::Error::custom)
            }
        }
    }
}

impl<'de, A: MapAccess<'de>> OverMap<A> {
    fn next_default<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.default.keys().next().cloned() else {
            return Ok(None);
        };
        self.here = self.default.shift_remove(&name);
        let name: StringDeserializer<A::Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }
}

/// Reads a key and its name. The seed stays where there is no key.
struct Key<'a, K> {
    seed: &'a mut Option<K>,
    name: &'a mut Option<String>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(deserializer)?;
        *self.name = Some(name.clone());
        let seed = self.seed.take();
        let seed = seed.ok_or_else(|| D::Error::custom("a key was read twice"))?;
        let name: StringDeserializer<D::Error> = name.into_deserializer();
        seed.deserialize(name)
    }
}

struct OverValue<S> {
    seed: S,
    default: Option<Value>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OverValue<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(OverDefault {
            inner: deserializer,
            default: self.default,
        })
    }
}

/// Takes the default into an option that is there.
struct Optional<V> {
    visitor: V,
    default: Option<Value>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Optional<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(OverDefault {
            inner: deserializer,
            default: self.default,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        a: u64,
        b: Option<f32>,
    }

    impl Default for Inner {
        fn default() -> Self {
            Self { a: 1, b: None }
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Kind {
        One { x: u64 },
        Two { y: u64 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        optional: Option<Inner>,
        kind: Kind,
    }

    fn read(text: &str) -> Result<Outer, toml::de::Error> {
        let default = Outer {
            inner: Inner { a: 5, b: Some(0.1) },
            optional: Some(Inner { a: 6, b: None }),
            kind: Kind::One { x: 2 },
        };
        let default = serde_json::to_value(default).unwrap();
        Outer::deserialize(OverDefault::new(toml::Deserializer::parse(text)?, default))
    }

    #[test]
    fn what_is_left_out_is_that_of_the_outermost_defaults() {
        let all = read("").unwrap();
        assert_eq!(all.inner, Inner { a: 5, b: Some(0.1) });
        let named = read("inner = { b = 0.5 }\noptional.b = 2.0\nkind = { kind = \"two\", y = 3 }");
        let named = named.unwrap();
        assert_eq!(named.inner, Inner { a: 5, b: Some(0.5) });
        assert_eq!(named.optional, Some(Inner { a: 6, b: Some(2.0) }));
        assert_eq!(named.kind, Kind::Two { y: 3 });
        assert_eq!(read("inner = {}").unwrap(), all);
    }

    #[test]
    fn mistakes_are_where_they_are() {
        let error = read("[inner]\na = 3\nc = 1").unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("unknown field `c`"),
            "{error}"
        );
        let error = read("inner = { a = \"x\" }").unwrap_err().to_string();
        assert!(
            error.contains("line 1") && error.contains("invalid type"),
            "{error}"
        );
    }
}
