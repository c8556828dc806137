//! Text as Python sees it, where a score depends on it.

use std::borrow::Cow;

/// Whether Python's `str.isspace`, `str.strip` and the regular expression `\s` take `c` for a
/// blank: Unicode white space and the four separators U+001C to U+001F, but no zero-width
/// characters such as U+200B.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text` without the blanks at its ends: Python's `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// `text` without the blanks at its start: Python's `str.lstrip()`.
pub(crate) fn strip_start(text: &str) -> &str {
    text.trim_start_matches(is_blank)
}

/// Equality of the full Unicode lower-case forms, Python's `a.lower() == b.lower()`. It is not
/// case folding: `ß` and `SS` differ.
pub fn equal_lower(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// `label` with blanks for underscores, if it has any.
pub(crate) fn without_underscores(label: &str) -> Option<Cow<'_, str>> {
    label
        .contains('_')
        .then(|| Cow::Owned(label.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_pythons() {
        for c in [
            '\t', '\n', '\x0b', '\x0c', '\r', ' ', '\x1c', '\x1f', '\u{85}', '\u{a0}',
        ] {
            assert!(is_blank(c), "{c:?}");
        }
        assert!(is_blank('\u{3000}') && is_blank('\u{2028}') && is_blank('\u{1680}'));
        assert!(!is_blank('\u{200b}') && !is_blank('\u{feff}') && !is_blank('\u{180e}'));
        assert_eq!(strip("\u{1f}\u{3000} x y\u{85}"), "x y");
        assert_eq!(strip("\u{200b}x"), "\u{200b}x");
    }

    #[test]
    fn lower_is_full_but_not_folding() {
        assert!(equal_lower("ΣΑΣ", "σας"));
        assert!(equal_lower("\u{212a}", "k"));
        assert!(!equal_lower("STRASSE", "straße"));
        assert!(!equal_lower("\u{130}stanbul", "istanbul"));
    }
}
