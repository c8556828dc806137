//! Expressions of Python's `re`, as PEFT's files hold them.

use fancy_regex::{Regex, RegexBuilder};

/// The longest expression, in bytes: real ones have some hundred.
const MAX_BYTES: usize = 1 << 16;

/// Steps of one look at a name; a name is looked at once or twice. Real expressions take some
/// hundred, those with several `.*?` some ten thousand.
const MAX_STEPS: usize = 300_000;

/// An expression with the meaning that it has in Python.
#[derive(Debug)]
pub(super) struct PythonRegex {
    regex: Regex,
}

impl PythonRegex {
    /// An expression for whole names, as `re.fullmatch` takes it.
    ///
    /// # Errors
    /// What Python would not take, or what is not supported.
    pub(super) fn whole(pattern: &str) -> Result<Self, String> {
        Self::within(pattern, r"\A(?:", r")\z")
    }

    /// An expression for the beginning of names, as `re.match` takes it.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub(super) fn beginning(pattern: &str) -> Result<Self, String> {
        Self::within(pattern, r"\A(?:", ")")
    }

    fn within(pattern: &str, before: &str, after: &str) -> Result<Self, String> {
        if pattern.len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes"));
        }
        let pattern = translate(pattern)?;
        let parse = |pattern: &str| {
            RegexBuilder::new(pattern)
                .backtrack_limit(MAX_STEPS)
                .build()
                .map_err(|error| format!("is no expression of Python's: {error}"))
        };
        // By itself first: parentheses must not pair with those around it.
        parse(&pattern)?;
        let regex = parse(&format!("{before}{pattern}{after}"))?;
        Ok(Self { regex })
    }

    /// Whether a name matches.
    ///
    /// # Errors
    /// When it takes too long to tell.
    pub(super) fn is_match(&self, name: &str) -> Result<bool, String> {
        self.regex.is_match(name).map_err(too_long)
    }

    /// The text of a group in a name, where it matches.
    ///
    /// # Errors
    /// As [`is_match`](Self::is_match).
    pub(super) fn group<'a>(&self, name: &'a str, group: usize) -> Result<Option<&'a str>, String> {
        let found = self.regex.captures(name).map_err(too_long)?;
        Ok(found
            .and_then(|found| found.get(group))
            .map(|group| group.as_str()))
    }
}

fn too_long(error: fancy_regex::Error) -> String {
    format!("takes too long: {error}")
}

/// Letters that have a meaning after a backslash, outside and inside of a class.
const ESCAPES: &str = "AbBdDsSwWZafnrtvxuU";
const CLASS_ESCAPES: &str = "bdDsSwWafnrtvxuU";

/// The same expression in the syntax of the `fancy-regex` crate, where that differs.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        match char {
            '\\' => {
                let escaped = after.chars().next().ok_or("ends in a backslash")?;
                escape(escaped, in_class, &mut out)?;
                rest = &after[escaped.len_utf8()..];
                continue;
            }
            ']' if in_class => in_class = false,
            // Sets within sets and their operators are no part of Python's syntax.
            '[' | '&' | '~' if in_class => out.push('\\'),
            '-' if in_class && out.ends_with('-') => out.push('\\'),
            '[' => {
                in_class = true;
                out.push('[');
                rest = after;
                if let Some(negated) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                // The first one does not end the class.
                if let Some(inner) = rest.strip_prefix(']') {
                    out.push_str(r"\]");
                    rest = inner;
                }
                continue;
            }
            '(' if !in_class => check_group(after)?,
            '{' if !in_class => {
                if let Some((counts, tail)) = quantifier(after) {
                    out.push_str(&counts);
                    rest = tail;
                    continue;
                }
                out.push('\\');
            }
            '}' if !in_class => out.push('\\'),
            _ => {}
        }
        out.push(char);
        rest = after;
    }
    Ok(out)
}

fn escape(char: char, in_class: bool, out: &mut String) -> Result<(), String> {
    let known = if in_class { CLASS_ESCAPES } else { ESCAPES };
    match char {
        'Z' if !in_class => out.push_str(r"\z"),
        'b' if in_class => out.push_str(r"\x08"),
        _ if char.is_ascii_alphabetic() && !known.contains(char) => {
            return Err(format!(
                "has `\\{char}`, which Python's expressions do not have"
            ));
        }
        '<' | '>' => out.push(char),
        _ if char.is_ascii() => out.extend(['\\', char]),
        _ => out.push(char),
    }
    Ok(())
}

/// Refuses groups that Python does not have, or whose flags change how the rest is read.
fn check_group(after: &str) -> Result<(), String> {
    let Some(kind) = after.strip_prefix('?') else {
        return Ok(());
    };
    let known = ["P<", "P=", ":", "=", "!", "<=", "<!", ">", "(", "#"];
    if known.iter().any(|known| kind.starts_with(known)) {
        return Ok(());
    }
    let flags = kind.split([')', ':']).next().unwrap_or_default();
    if !flags.is_empty() && flags.chars().all(|flag| "ims-".contains(flag)) {
        return Ok(());
    }
    let shown: String = kind.chars().take(8).collect();
    Err(format!("has a group `(?{shown}`, which is not supported"))
}

/// How often, after an opening brace, and what follows; nothing where the brace stands for itself.
fn quantifier(after: &str) -> Option<(String, &str)> {
    let (inner, tail) = after.split_once('}')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let counts = match inner.split_once(',') {
        Some((least, most)) if digits(least) && digits(most) => {
            let least = if least.is_empty() { "0" } else { least };
            format!("{{{least},{most}}}")
        }
        None if digits(inner) && !inner.is_empty() => format!("{{{inner}}}"),
        _ => return None,
    };
    Some((counts, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, name: &str) -> bool {
        let regex =
            PythonRegex::whole(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        regex.is_match(name).unwrap()
    }

    #[test]
    fn names_match_as_in_python() {
        // What re.fullmatch(pattern, name) gives in Python 3.11.
        for (pattern, name, expected) in [
            ("q_proj", "q_proj", true),
            ("q_proj", "a.q_proj", false),
            ("a|ab", "ab", true),
            ("a$|b", "a", true),
            (
                r"^(model\.language_model(?=\.).*\.(q_proj|o_proj))$",
                "model.language_model.x.q_proj",
                true,
            ),
            (
                r"^(model\.language_model(?=\.).*\.(q_proj|o_proj))$",
                "model.visual.x.q_proj",
                false,
            ),
            (
                r"^(?!.*(?:visual|embed)).*(?:q_proj|o_proj).*",
                "model.layers.0.self_attn.q_proj",
                true,
            ),
            (
                r"^(?!.*(?:visual|embed)).*(?:q_proj|o_proj).*",
                "model.visual.q_proj",
                false,
            ),
            (r".*(?<=self_attn\.)[qk]_proj\Z", "x.self_attn.k_proj", true),
            (r".*(?<!cross_attn\.)q_proj", "x.cross_attn.q_proj", false),
            (r"(?P<part>\w)\.(?P=part)", "a.a", true),
            (r"(?P<part>\w)\.(?P=part)", "a.b", false),
            (r"(\w)\.\1", "b.b", true),
            (r"(?i)Q_PROJ", "q_proj", true),
            (r"x(?#a remark)y", "xy", true),
            (r"a{,3}b", "aab", true),
            (r"a{2}", "aa", true),
            (r"a{2}", "aaa", false),
            (r"a{x}", "a{x}", true),
            (r"[]a]+", "]a]", true),
            (r"[^]a]", "b", true),
            (r"[[a]", "[", true),
            (r"[a&&b]+", "&a", true),
            (r"\<a\>", "<a>", true),
            (r"layers\.(?:[0-9]|1\d)\..*", "layers.17.mlp", true),
            (r"(?>a+)ab", "aaab", false),
            (r"a\-b\_c", "a-b_c", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_beginning_of_a_name_gives_its_groups() {
        let regex = PythonRegex::beginning(r".*\.[^.]*\.(\d+)\.").unwrap();
        let group = |name| regex.group(name, 1).unwrap();
        assert_eq!(group("model.layers.12.mlp.up_proj"), Some("12"));
        assert_eq!(group("model.visual.merger.mlp.0"), None);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let long = "a".repeat(MAX_BYTES + 1);
        for pattern in [
            "(q_proj",
            "a)|(b",
            "[a",
            "*a",
            r"a\",
            r"\p{L}",
            r"\z",
            r"\K",
            "(?<n>a)",
            "(?x)a",
            "(?R)",
            "a{999999999}",
            &long,
        ] {
            assert!(PythonRegex::whole(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn time_is_bound() {
        let slow = PythonRegex::whole(r"(?:(?=a)a+)+b").unwrap();
        let message = slow.is_match(&"a".repeat(60)).unwrap_err();
        assert!(message.starts_with("takes too long"), "{message}");
    }
}
