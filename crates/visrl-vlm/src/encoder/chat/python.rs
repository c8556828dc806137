//! Python's methods of strings and dictionaries, which chat templates call.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// Called by the engine for a method that a value does not have.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => call_on_text(text, method, args),
        None if value.kind() == ValueKind::Map => call_on_map(state, value, method, args),
        None => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn call_on_text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let stripped = |start: bool, end: bool| -> Result<Value, Error> {
        let (set,): (Option<&str>,) = from_args(args)?;
        let strips = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
        let text = if start {
            text.trim_start_matches(strips)
        } else {
            text
        };
        let text = if end {
            text.trim_end_matches(strips)
        } else {
            text
        };
        Ok(Value::from(text))
    };
    match method {
        "strip" => stripped(true, true),
        "lstrip" => stripped(true, false),
        "rstrip" => stripped(false, true),
        "startswith" => from_args(args).map(|(prefix,)| text.starts_with::<&str>(prefix).into()),
        "endswith" => from_args(args).map(|(suffix,)| text.ends_with::<&str>(suffix).into()),
        "lower" => from_args(args).map(|()| text.to_lowercase().into()),
        "upper" => from_args(args).map(|()| text.to_uppercase().into()),
        "replace" => {
            let (old, new): (&str, &str) = from_args(args)?;
            Ok(text.replace(old, new).into())
        }
        "split" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most = most.and_then(|most| usize::try_from(most).ok());
            split(text, separator, most)
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn split(text: &str, separator: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let parts: Vec<Value> = match separator {
        Some("") => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "split: empty separator",
            ));
        }
        Some(separator) => text.splitn(pieces, separator).map(Value::from).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start_matches(is_space);
            while !rest.is_empty() {
                if parts.len() + 1 == pieces {
                    parts.push(Value::from(rest));
                    break;
                }
                let (part, tail) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
                parts.push(Value::from(part));
                rest = tail.trim_start_matches(is_space);
            }
            parts
        }
    };
    Ok(Value::from(parts))
}

/// Python's `str.isspace`: Unicode's white space and four control characters.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn call_on_map(
    state: &mut State<'_, '_>,
    map: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match method {
        "keys" => {
            from_args::<()>(args)?;
            Ok(map.try_iter()?.collect())
        }
        "values" => {
            from_args::<()>(args)?;
            map.try_iter()?.map(|key| map.get_item(&key)).collect()
        }
        "items" => {
            from_args::<()>(args)?;
            state.apply_filter("items", std::slice::from_ref(map))
        }
        "get" => {
            let (key, or): (Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(&key)?;
            Ok(if found.is_undefined() {
                or.unwrap_or_else(|| Value::from(()))
            } else {
                found
            })
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    fn render(source: &str) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_unknown_method_callback(super::call);
        environment.render_str(source, context! { map => context! { a => 1, b => "x" } })
    }

    #[test]
    fn methods_do_what_python_does() {
        for (source, expected) in [
            ("{{ ' \u{3000}\u{1c}a b\n'.strip() }}|", "a b|"),
            (
                "{{ 'xxaxx'.lstrip('x') }} {{ 'xxaxx'.rstrip('x') }}",
                "axx xxa",
            ),
            (
                "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('ab') }}",
                "True False",
            ),
            ("{{ 'aBc'.lower() }}{{ 'aBc'.upper() }}", "abcABC"),
            ("{{ 'a-b-c'.replace('-', '+') }}", "a+b+c"),
            ("{{ 'a</think>b</think>c'.split('</think>')[-1] }}", "c"),
            ("{{ 'a-b-c'.split('-', 1) | join('|') }}", "a|b-c"),
            ("{{ '  a  b c '.split() | join('|') }}", "a|b|c"),
            ("{{ ' a  b c '.split(none, 1) | join('|') }}", "a|b c "),
            (
                "{{ map.keys() | join('') }} {{ map.values() | join('') }}",
                "ab 1x",
            ),
            (
                "{% for k, v in map.items() %}{{ k }}{{ v }}{% endfor %}",
                "a1bx",
            ),
            (
                "{{ map.get('a') }} {{ map.get('c', 7) }} {{ map.get('c') }}",
                "1 7 None",
            ),
        ] {
            assert_eq!(render(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn other_methods_and_arguments_are_errors() {
        for source in [
            "{{ 'a'.nothing() }}",
            "{{ 'a'.split('') }}",
            "{{ 'a'.strip(1, 2) }}",
            "{{ 3.keys() }}",
        ] {
            assert!(render(source).is_err(), "{source}");
        }
    }
}
