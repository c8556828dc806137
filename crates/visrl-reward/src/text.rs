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

/// The words of `text` between blanks: Python's `str.split()`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut blanks = blanks_and(b' ', text);
    let mut start = 0;
    std::iter::from_fn(move || {
        loop {
            let blank = blanks.next();
            let word = &text[start..blank.map_or(text.len(), |(at, _)| at)];
            start = blank.map_or(text.len(), |(_, after)| after);
            if !word.is_empty() {
                return Some(word);
            }
            blank?;
        }
    })
}

/// Where each blank of `text`, and each ASCII character `sign`, starts and ends.
pub(crate) fn blanks_and(sign: u8, text: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += plain_bytes(&bytes[at..], sign);
            let start = at;
            let byte = *bytes.get(start)?;
            if byte.is_ascii() {
                at += 1;
                if byte == sign || is_blank(char::from(byte)) {
                    return Some((start, at));
                }
            } else {
                let c = text[start..].chars().next()?;
                at += c.len_utf8();
                if is_blank(c) {
                    return Some((start, at));
                }
            }
        }
    })
}

/// How many bytes at the start of `bytes` begin neither a blank nor `sign`.
fn plain_bytes(bytes: &[u8], sign: u8) -> usize {
    // ASCII blanks are the least characters, and U+0085, the first of the others, begins with
    // 0xc2.
    let may_start = |byte: &u8| *byte <= b' ' || *byte >= 0xc2 || *byte == sign;
    let (near, far) = bytes.split_at(bytes.len().min(8));
    if let Some(plain) = near.iter().position(may_start) {
        return plain;
    }
    // After the length of a word, sixteen bytes are compared at once.
    let any = |chunk: &[u8; 16]| chunk.iter().fold(false, |any, byte| any | may_start(byte));
    let chunks = far.as_chunks().0.iter();
    let plain = 16 * chunks.take_while(|chunk| !any(chunk)).count();
    let rest = &far[plain..];
    near.len() + plain + rest.iter().position(may_start).unwrap_or(rest.len())
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
    fn words_and_blanks_are_found_by_bytes() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let mut buffer = [0; 4];
            let text = &*c.encode_utf8(&mut buffer);
            let found = blanks_and(b' ', text).next();
            assert_eq!(found, is_blank(c).then_some((0, c.len_utf8())), "{c:?}");
        }
        let text = "\u{3000} é\u{2014}b\u{85}\n中国\u{a0}c\u{1f}";
        assert_eq!(Vec::from_iter(words(text)), ["é\u{2014}b", "中国", "c"]);
        assert_eq!(words(" ").chain(words("")).next(), None);
        assert_eq!(Vec::from_iter(words("a")), ["a"]);
        let signs = blanks_and(b'=', "1 =é\u{a0}=\u{a1}");
        assert_eq!(Vec::from_iter(signs), [(1, 2), (2, 3), (5, 7), (7, 8)]);
    }

    #[test]
    fn lower_is_full_but_not_folding() {
        assert!(equal_lower("ΣΑΣ", "σας"));
        assert!(equal_lower("\u{212a}", "k"));
        assert!(!equal_lower("STRASSE", "straße"));
        assert!(!equal_lower("\u{130}stanbul", "istanbul"));
    }
}
