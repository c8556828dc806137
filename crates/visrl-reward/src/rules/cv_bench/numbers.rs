//! Numbers in running text, as the CV-Bench parse sees them.

use crate::text::is_blank;

use super::option_search::bold;

const CURRENCIES: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";

/// Whether bold marks, a currency sign or a number may start with this byte; nothing that [`anchored_number`] finds
/// starts with another.
pub(super) fn starts_number(byte: u8) -> bool {
    matches!(
        byte,
        b'*' | b'$' | b'-' | b'.' | b'0'..=b'9' | 0xc2 | 0xe0 | 0xe2
    )
}

/// A number after the start of the text, a blank or an equals sign at `at`, then bold marks and a
/// currency sign: where it ends, a percent sign included, and its text without leading zeros and
/// thousands separators.
pub(super) fn anchored_number(text: &str, at: usize) -> Option<(usize, String)> {
    let after = |from: usize| {
        bold(text, from).find_map(|from| {
            let sign = text[from..]
                .chars()
                .next()
                .filter(|c| CURRENCIES.contains(*c));
            let from = from + sign.map_or(0, char::len_utf8);
            let (length, number) = number(&text.as_bytes()[from..])?;
            Some((from + length + percent(&text[from + length..]), number))
        })
    };
    if at == 0
        && let Some(found) = after(0)
    {
        return Some(found);
    }
    let c = text[at..]
        .chars()
        .next()
        .filter(|c| is_blank(*c) || *c == '=')?;
    after(at + c.len_utf8())
}

/// The number at the start of `text`: its length and normal form.
fn number(text: &[u8]) -> Option<(usize, String)> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let whole = sign + digits(&text[sign..]);
    let grouped = groups(&text[sign..]).map(|length| sign + length);
    let (integer, end) = match grouped {
        Some(end) => (end, end + point(&text[end..], b".")),
        None if whole > sign => (whole, whole + point(&text[whole..], b".,")),
        None => {
            let length = point(text, b".");
            if length == 0 {
                return None;
            }
            (0, length)
        }
    };
    let mut number: String = text[..integer]
        .iter()
        .filter(|b| !matches!(b, b',' | b' '))
        .map(|b| char::from(*b))
        .collect();
    let zeros = number.len() - number.trim_start_matches('0').len();
    number.drain(..zeros);
    if number.is_empty() {
        number.push('0');
    }
    number.extend(
        text[integer..end]
            .iter()
            .map(|b| if *b == b',' { '.' } else { char::from(*b) }),
    );
    Some((end, number))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of a point from `points` with digits after it, else 0.
fn point(text: &[u8], points: &[u8]) -> usize {
    match text.first() {
        Some(byte) if points.contains(byte) => match digits(&text[1..]) {
            0 => 0,
            count => count + 1,
        },
        _ => 0,
    }
}

/// The length of `1,234,567` or `1 234 567`, if there is at least one group.
fn groups(text: &[u8]) -> Option<usize> {
    let first = digits(&text[..text.len().min(4)]);
    if !(1..=3).contains(&first) || text[0] == b'0' {
        return None;
    }
    let mut end = first;
    while let Some(group) = text.get(end..end + 4)
        && matches!(group[0], b',' | b' ')
        && group[1..].iter().all(u8::is_ascii_digit)
    {
        end += 4;
    }
    (end > first).then_some(end)
}

/// The length of a percent sign or word after blanks, else 0.
fn percent(text: &str) -> usize {
    let rest = text.trim_start_matches(is_blank);
    let blanks = text.len() - rest.len();
    ["%", "percent", "Percent", "pct", "Pct"]
        .iter()
        .find(|word| rest.starts_with(**word))
        .map_or(0, |word| blanks + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_running_text() {
        for (text, end, want) in [
            ("3", 1, "3"),
            ("-3.5x", 4, "-3.5"),
            ("007", 3, "7"),
            ("0", 1, "0"),
            ("3,5", 3, "3.5"),
            ("1,234 567.5", 11, "1234567.5"),
            ("1234,567", 8, "1234.567"),
            (".25", 3, "0.25"),
            ("3.", 1, "3"),
            ("$4", 2, "4"),
            ("=5", 2, "5"),
            ("**6**", 3, "6"),
            ("50 %", 4, "50"),
            (" 2x", 2, "2"),
        ] {
            assert_eq!(
                anchored_number(text, 0),
                Some((end, want.to_owned())),
                "{text}"
            );
        }
        for text in ["", "x3", "-", ".", "(3)", "- 3"] {
            assert_eq!(anchored_number(text, 0), None, "{text}");
        }
    }

    #[test]
    fn first_bytes_tell_numbers() {
        for c in CURRENCIES.chars().chain("*-.0123456789".chars()) {
            let mut buffer = [0; 4];
            assert!(
                starts_number(c.encode_utf8(&mut buffer).as_bytes()[0]),
                "{c}"
            );
        }
    }
}
