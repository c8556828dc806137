//! An expression of Python's, ready to match.

use fancy_regex::{Regex, RegexBuilder};

use super::parser::parse;
use super::write::{LONGEST, write};

/// The longest expression, in bytes: real ones have some hundred.
const MAX_BYTES: usize = 1 << 16;

/// Steps of one look at a name; a name is looked at once or twice. Real expressions take some
/// hundred, those with several `.*?` some ten thousand.
const MAX_STEPS: usize = 300_000;

/// An expression with the meaning that it has in Python.
#[derive(Debug)]
pub(in crate::lora) struct PythonRegex {
    regex: Regex,
}

impl PythonRegex {
    /// An expression for whole names, as `re.fullmatch` takes it.
    ///
    /// # Errors
    /// What Python would not take, or what is not supported.
    pub(in crate::lora) fn whole(pattern: &str) -> Result<Self, String> {
        Self::within(pattern, r"\A(?:", r")\z")
    }

    /// An expression for the beginning of names, as `re.match` takes it.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub(in crate::lora) fn beginning(pattern: &str) -> Result<Self, String> {
        Self::within(pattern, r"\A(?:", ")")
    }

    fn within(pattern: &str, before: &str, after: &str) -> Result<Self, String> {
        if pattern.len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes"));
        }
        let none = |message: String| format!("is no expression of Python's: it {message}");
        let (tree, groups) = parse(pattern).map_err(none)?;
        let mut text = before.to_owned();
        write(&tree, &groups, &mut text);
        text.push_str(after);
        let regex = RegexBuilder::new(&text)
            .backtrack_limit(MAX_STEPS)
            .build()
            .map_err(|error| format!("cannot be matched: {error}"))?;
        Ok(Self { regex })
    }

    /// Whether a name matches.
    ///
    /// # Errors
    /// When it takes too long to tell, or the name is longer than 128 bytes.
    pub(in crate::lora) fn is_match(&self, name: &str) -> Result<bool, String> {
        check_length(name)?;
        self.regex.is_match(name).map_err(too_long)
    }

    /// The text of a group in a name, where it matches.
    ///
    /// # Errors
    /// As [`is_match`](Self::is_match).
    pub(in crate::lora) fn group<'a>(
        &self,
        name: &'a str,
        group: usize,
    ) -> Result<Option<&'a str>, String> {
        check_length(name)?;
        let found = self.regex.captures(name).map_err(too_long)?;
        Ok(found
            .and_then(|found| found.get(group))
            .map(|group| group.as_str()))
    }
}

fn check_length(name: &str) -> Result<(), String> {
    match name.len() as u64 > LONGEST {
        true => Err(format!(
            "is for names of up to {LONGEST} bytes, not for `{name}`"
        )),
        false => Ok(()),
    }
}

fn too_long(error: fancy_regex::Error) -> String {
    format!("takes too long: {error}")
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
    fn what_python_takes_is_taken() {
        // What re.fullmatch(pattern, name) gives in Python 3.11.
        for (pattern, name, expected) in [
            (r"\141\0142?[\142]", "ab", false),
            (r"\141[\142]", "ab", true),
            (r"(a)\1", "aa", true),
            (r"(a)\141", "aa", true),
            (r"(?x) q _ proj  # the queries", "q_proj", true),
            (r"(?x:a b)\ [ ]", "ab  ", true),
            ("(?x) a + # one\n b", "aab", true),
            (r"(?a:\w+)", "\u{e9}", false),
            (r"\w+", "\u{e9}", true),
            (r"(?ai)Q_PROJ", "q_proj", true),
            (r"(?i:Q)_proj", "q_proj", true),
            (r"(?i:Q)_proj", "q_PROJ", false),
            (r"(?s-i:.)", "\n", true),
            (r"(?:a{1000}){1000}", "aaa", false),
            (r"(?:a{1000}){0,1000}b", "b", true),
            (r"(?:a{0,1000}){0,1000}b", "aaab", true),
            (r"(?:(?:a?){500}){500}", "aaa", true),
            (r"a{4294967294}", "a", false),
            (r"a{999999999}|b", "b", true),
            (r"(?:(?=a)){3}a", "a", true),
            (r"a{,}b", "aab", true),
            (r"a{}", "a{}", true),
            (r"a{,x}", "a{,x}", true),
            (r"a++b", "aab", true),
            (r"a++ab", "aab", false),
            (r"a{1,2}+ab", "aab", false),
            (r"a*?b", "aab", true),
            (r"(a)?b(?(1)c|d)", "abc", true),
            (r"(a)?b(?(1)c|d)", "bd", true),
            (r"(?P<x>a)?b(?(x)c)", "b", true),
            (r"(?:^)*a()*", "a", true),
            (r"[\d.-]+[a\-z][\]^]", "1.-z^", true),
            (r"[^\W\d]+", "ab", true),
            (r"[^\W\d]+", "a1", false),
            (r"\x61\u0062", "ab", true),
            (r".*(?<=self_attn\.|mlp_attns\.)q", "self_attn.q", true),
            (r"(?<!a{3})b", "b", true),
            ("a$", "a\n", false),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for pattern in [
            "a(?i)b",
            "b|(?i)a",
            "((?i)a)",
            "(?<=a+)b",
            "(?<=a|bc)d",
            "(?<!a?)b",
            r".*(?<=self_attn|cross_attn)\.q_proj",
            "(?<=(a)|bc)d",
            "a**",
            "a+*",
            "a{2}{3}",
            "a+++",
            "^*",
            r"\b+",
            "(?i)*",
            "|*",
            "(*a)",
            "a{3,2}",
            "a{4294967295}",
            "(?-i)a",
            "(?i-i:a)",
            "(?L)a",
            "(?au:a)",
            "(?-a:a)",
            "(?i-:a)",
            "(?z)a",
            "(?P<1>a)",
            "(?P<a>b)(?P<a>c)",
            "(?P=a)",
            r"\1",
            r"(a\1)",
            r"(a)\2",
            r"(a)\18",
            r"\8",
            r"\400",
            r"[\400]",
            r"[\9]",
            r"\x1",
            r"\u00",
            r"\U00110000",
            "[b-a]",
            r"[a-\d]",
            r"[\A]",
            "[]",
            "[^]",
            "(?(1)a)",
            "(?(a)b)",
            "(a)(?(1)a|b|c)",
            "(?#",
            "(?P<a",
            "(?",
            "(?'a'b)",
            "(?|a)",
            r"\Gab",
            r"\h",
            r"\Q",
        ] {
            let message = PythonRegex::whole(pattern).err().unwrap_or_default();
            assert!(
                message.starts_with("is no expression"),
                "{pattern}: {message}"
            );
        }
        let deep = format!("{}{}", "(".repeat(200), ")".repeat(200));
        assert!(PythonRegex::whole(&deep).is_err());
        let long = PythonRegex::whole(".*").unwrap().is_match(&"a".repeat(200));
        assert!(long.is_err());
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
            "(q_proj", "a)|(b", "[a", "*a", r"a\", r"\p{L}", r"\z", r"\K", "(?<n>a)", "(?R)", &long,
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
