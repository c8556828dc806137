//! What stands after a backslash, and sets of characters.

use super::flags::Flags;
use super::parser::Parser;
use super::tree::{Class, Item, Node, Place};

/// A single character of an expression, or a set with a letter of its own.
enum Escaped {
    Char(char),
    Category(char),
}

impl Parser<'_> {
    /// What a backslash means outside of a set; the backslash is read.
    pub(super) fn escape(&mut self, flags: Flags) -> Result<Node, String> {
        let place = match self.peek() {
            Some('A') => Some(Place::TextStart),
            Some('Z') => Some(Place::TextEnd),
            Some('b') => Some(Place::Boundary),
            Some('B') => Some(Place::NoBoundary),
            _ => None,
        };
        if let Some(place) = place {
            self.next();
            return Ok(Node::Place(place, flags));
        }
        if let Some(digit @ '1'..='9') = self.peek() {
            self.next();
            let mut digits = String::from(digit);
            if let Some(second) = self.peek().filter(char::is_ascii_digit) {
                self.next();
                digits.push(second);
                let third = self.peek().filter(|third| is_octal(*third));
                if digits.chars().all(is_octal)
                    && let Some(third) = third
                {
                    self.next();
                    digits.push(third);
                    return Ok(Node::Char(octal(&digits)?, flags));
                }
            }
            // Two digits at the most.
            return self.back(digits.parse().unwrap_or(usize::MAX), flags);
        }
        Ok(match self.escaped(false)? {
            Escaped::Char(char) => Node::Char(char, flags),
            Escaped::Category(letter) => Node::Class(Class {
                negated: false,
                items: vec![Item::Category(letter)],
                flags,
            }),
        })
    }

    /// A set of characters; its opening bracket is read.
    pub(super) fn class(&mut self, flags: Flags) -> Result<Class, String> {
        let negated = self.take('^');
        let mut items = Vec::new();
        let unfinished = || "has a set `[` that does not end".to_owned();
        loop {
            let char = self.next().ok_or_else(unfinished)?;
            // The first one does not end the set.
            if char == ']' && !items.is_empty() {
                return Ok(Class {
                    negated,
                    items,
                    flags,
                });
            }
            let low = self.member(char)?;
            if !self.rest().starts_with('-') {
                items.push(low.into());
                continue;
            }
            self.next();
            let char = self.next().ok_or_else(unfinished)?;
            if char == ']' {
                items.extend([low.into(), Item::Range('-', '-')]);
                return Ok(Class {
                    negated,
                    items,
                    flags,
                });
            }
            match (low, self.member(char)?) {
                (Escaped::Char(low), Escaped::Char(high)) if low <= high => {
                    items.push(Item::Range(low, high));
                }
                _ => return Err("has a range of characters that is none".into()),
            }
        }
    }

    fn member(&mut self, char: char) -> Result<Escaped, String> {
        match char {
            '\\' => self.escaped(true),
            _ => Ok(Escaped::Char(char)),
        }
    }

    /// What a backslash means in a set and, but for places and groups, outside.
    fn escaped(&mut self, in_class: bool) -> Result<Escaped, String> {
        let letter = self.next().ok_or("ends in a backslash")?;
        let char = match letter {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => return Ok(Escaped::Category(letter)),
            'a' => '\x07',
            'b' if in_class => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.hex(2)?,
            'u' => self.hex(4)?,
            'U' => self.hex(8)?,
            '0'..='7' => {
                let mut digits = String::from(letter);
                while digits.len() < 3
                    && let Some(digit) = self.peek().filter(|digit| is_octal(*digit))
                {
                    self.next();
                    digits.push(digit);
                }
                octal(&digits)?
            }
            _ if letter.is_ascii_alphanumeric() => {
                return Err(format!(
                    "has `\\{letter}`, which Python's expressions do not have"
                ));
            }
            _ => letter,
        };
        Ok(Escaped::Char(char))
    }

    fn hex(&mut self, count: usize) -> Result<char, String> {
        let digits: String = self.rest().chars().take(count).collect();
        let whole = digits.len() == count && digits.bytes().all(|x| x.is_ascii_hexdigit());
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| whole);
        let char = code.and_then(char::from_u32);
        let char = char.ok_or_else(|| format!("has `{digits}` where a character's number is"))?;
        (0..count).for_each(|_| {
            self.next();
        });
        Ok(char)
    }
}

impl From<Escaped> for Item {
    fn from(escaped: Escaped) -> Self {
        match escaped {
            Escaped::Char(char) => Self::Range(char, char),
            Escaped::Category(letter) => Self::Category(letter),
        }
    }
}

fn is_octal(char: char) -> bool {
    char.is_digit(8)
}

fn octal(digits: &str) -> Result<char, String> {
    let code = u8::from_str_radix(digits, 8).map(char::from);
    code.map_err(|_| format!("has `\\{digits}`, beyond the octal numbers of characters"))
}
