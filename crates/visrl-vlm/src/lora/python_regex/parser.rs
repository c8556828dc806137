//! Reading an expression by Python's rules.

use super::flags::{Flags, Switches};
use super::tree::{Kind, Node, Place};

/// How deep groups may lie within each other: real expressions have a few.
const DEEPEST: usize = 100;

/// Repetitions from which on Python refuses a number.
const MOST_REPEATS: u64 = u32::MAX as u64;

/// An expression that is being read.
pub(super) struct Parser<'t> {
    rest: &'t str,
    global: Flags,
    /// Names of groups, with their numbers.
    names: Vec<(String, usize)>,
    /// The widths of the groups that were read, by number less one; nothing while one is open.
    groups: Vec<Option<(u64, u64)>>,
    /// Groups that conditions name, which must be there in the end.
    asked: Vec<usize>,
    depth: usize,
}

/// Reads an expression; gives it with the widths of its groups, the first of which is the whole.
///
/// # Errors
/// What Python would not take.
pub(super) fn parse(text: &str) -> Result<(Node, Vec<(u64, u64)>), String> {
    let mut global = Flags::default();
    loop {
        let mut parser = Parser {
            rest: text,
            global,
            names: Vec::new(),
            groups: Vec::new(),
            asked: Vec::new(),
            depth: 0,
        };
        let parsed = parser.alternatives(global, true);
        // A flag for all, which was read on the way, holds from the beginning.
        if parser.global != global {
            global = parser.global;
            continue;
        }
        let node = parsed?;
        if !parser.rest.is_empty() {
            return Err("has a parenthesis that was not opened".into());
        }
        if parser
            .asked
            .iter()
            .any(|group| *group > parser.groups.len())
        {
            return Err("names a group that is not there".into());
        }
        return Ok((node, parser.widths()));
    }
}

impl<'t> Parser<'t> {
    pub(super) fn rest(&self) -> &'t str {
        self.rest
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.rest = &self.rest[char.len_utf8()..];
        Some(char)
    }

    pub(super) fn take(&mut self, char: char) -> bool {
        self.take_text(char.encode_utf8(&mut [0; 4]))
    }

    fn take_text(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The text up to a character, which is read, too.
    fn until(&mut self, end: char, what: &str) -> Result<&'t str, String> {
        let (text, rest) = self
            .rest
            .split_once(end)
            .ok_or_else(|| format!("has {what} that does not end"))?;
        self.rest = rest;
        Ok(text)
    }

    /// The widths of all groups, as far as they are known; place 0 is that of the whole.
    fn widths(&self) -> Vec<(u64, u64)> {
        let open = (0, MOST_REPEATS);
        let groups = self.groups.iter().map(|width| width.unwrap_or(open));
        std::iter::once(open).chain(groups).collect()
    }

    /// Up to the end or to a closing parenthesis, which is left. `first` at the very beginning.
    fn alternatives(&mut self, flags: Flags, first: bool) -> Result<Node, String> {
        let mut found = vec![self.sequence(flags, first)?];
        while self.take('|') {
            found.push(self.sequence(flags, false)?);
        }
        Ok(match found.len() {
            1 => found.remove(0),
            _ => Node::Alternatives(found),
        })
    }

    fn sequence(&mut self, flags: Flags, first: bool) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while let Some(char) = self.peek().filter(|char| !matches!(char, '|' | ')')) {
            self.next();
            let node = match char {
                ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if flags.verbose => continue,
                '#' if flags.verbose => {
                    self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
                    continue;
                }
                '\\' => self.escape(flags)?,
                '[' => Node::Class(self.class(flags)?),
                '.' => Node::Any(flags),
                '^' => Node::Place(Place::Start, flags),
                '$' => Node::Place(Place::End, flags),
                '(' => match self.group(flags, first && nodes.is_empty())? {
                    Some(node) => node,
                    None => continue,
                },
                '*' | '+' | '?' | '{' => match self.counts(char)? {
                    Some(counts) => self.repeat(nodes.pop(), counts)?,
                    None => Node::Char(char, flags),
                },
                _ => Node::Char(char, flags),
            };
            nodes.push(node);
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    /// How often, after the character that asks for it; nothing where a brace stands for itself.
    fn counts(&mut self, char: char) -> Result<Option<(u64, Option<u64>)>, String> {
        match char {
            '*' => return Ok(Some((0, None))),
            '+' => return Ok(Some((1, None))),
            '?' => return Ok(Some((0, Some(1)))),
            _ => {}
        }
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let Some((inner, tail)) = self.rest.split_once('}') else {
            return Ok(None);
        };
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        if inner.is_empty() || !digits(least) || !digits(most) {
            return Ok(None);
        }
        self.rest = tail;
        let number = |text: &str| match text {
            "" => Ok(None),
            _ => match text.parse::<u64>() {
                Ok(number) if number < MOST_REPEATS => Ok(Some(number)),
                _ => Err(format!("repeats {text} times, which is too often")),
            },
        };
        let (least, most) = (number(least)?.unwrap_or(0), number(most)?);
        match most {
            Some(most) if most < least => Err("repeats more often than it may".into()),
            most => Ok(Some((least, most))),
        }
    }

    fn repeat(&mut self, node: Option<Node>, counts: (u64, Option<u64>)) -> Result<Node, String> {
        let node = match node {
            None | Some(Node::Place(..)) => return Err("has nothing to repeat".into()),
            Some(Node::Repeat { .. }) => return Err("repeats what is repeated already".into()),
            Some(node) => Box::new(node),
        };
        let kind = match (self.take('?'), self.take('+')) {
            (true, true) => return Err("repeats what is repeated already".into()),
            (true, _) => Kind::Lazy,
            (_, true) => Kind::Possessive,
            _ => Kind::Greedy,
        };
        let (least, most) = counts;
        Ok(Node::Repeat {
            node,
            least,
            most,
            kind,
        })
    }

    /// A group, whose opening parenthesis is read; nothing for a remark or flags for all, which may
    /// stand at the beginning alone.
    fn group(&mut self, flags: Flags, at_start: bool) -> Result<Option<Node>, String> {
        if !self.take('?') {
            return self.captured(None, flags).map(Some);
        }
        if self.take_text("P<") {
            let name = self.until('>', "a name of a group")?;
            self.check_new(name)?;
            return self.captured(Some(name), flags).map(Some);
        }
        if self.take_text("P=") {
            let name = self.until(')', "a name of a group")?;
            return self.back(self.number_of(name)?, flags).map(Some);
        }
        if self.take('#') {
            self.until(')', "a remark")?;
            return Ok(None);
        }
        if self.take('(') {
            return self.condition(flags).map(Some);
        }
        if self.take('>') {
            return Ok(Some(Node::Atomic(Box::new(self.inner(flags)?))));
        }
        for (mark, behind, negated) in [
            ("=", false, false),
            ("!", false, true),
            ("<=", true, false),
            ("<!", true, true),
        ] {
            if self.take_text(mark) {
                let node = Box::new(self.inner(flags)?);
                let (least, most) = node.width(&self.widths());
                if behind && least != most {
                    return Err("looks behind for texts of several lengths".into());
                }
                return Ok(Some(Node::Look {
                    behind,
                    negated,
                    node,
                }));
            }
        }
        self.flagged(flags, at_start)
    }

    /// `(?i)`, `(?i:...)` and `(?:...)`; `(?` is read.
    fn flagged(&mut self, flags: Flags, at_start: bool) -> Result<Option<Node>, String> {
        let end = self
            .rest
            .find(|char: char| !char.is_ascii_alphabetic() && char != '-');
        let letters = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = &self.rest[letters.len()..];
        match self.next() {
            Some(':') => {
                let switches = Switches::read(letters, true)?;
                let inner = self.inner(switches.switch(flags))?;
                // One that is repeated already may be repeated again within a group.
                Ok(Some(Node::Sequence(vec![inner])))
            }
            Some(')') if !letters.is_empty() => {
                let switches = Switches::read(letters, false)?;
                if !at_start {
                    return Err(format!(
                        "has `(?{letters})` elsewhere than at its beginning"
                    ));
                }
                self.global = switches.switch(self.global);
                Ok(None)
            }
            _ => {
                let shown: String = letters.chars().chain(self.rest.chars()).take(8).collect();
                Err(format!(
                    "has a group `(?{shown}`, which Python's expressions do not have"
                ))
            }
        }
    }

    /// What is within a group, and its closing parenthesis.
    fn inner(&mut self, flags: Flags) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("has more than {DEEPEST} groups within each other"));
        }
        let node = self.alternatives(flags, false)?;
        self.depth -= 1;
        match self.take(')') {
            true => Ok(node),
            false => Err("has a parenthesis that is not closed".into()),
        }
    }

    fn captured(&mut self, name: Option<&str>, flags: Flags) -> Result<Node, String> {
        self.groups.push(None);
        let number = self.groups.len();
        if let Some(name) = name {
            self.names.push((name.to_owned(), number));
        }
        let node = self.inner(flags)?;
        self.groups[number - 1] = Some(node.width(&self.widths()));
        Ok(Node::Group(Box::new(node)))
    }

    /// `(?(1)yes|no)`; `(?(` is read.
    fn condition(&mut self, flags: Flags) -> Result<Node, String> {
        let name = self.until(')', "a condition")?;
        let number = match name.parse::<usize>() {
            Ok(0) => return Err("asks for a group 0".into()),
            Ok(number) => {
                self.asked.push(number);
                number
            }
            Err(_) => self.number_of(name)?,
        };
        let (yes, no) = match self.inner(flags)? {
            Node::Alternatives(nodes) => match <[Node; 2]>::try_from(nodes) {
                Ok([yes, no]) => (yes, no),
                Err(_) => return Err("has a condition with more than two parts".into()),
            },
            yes => (yes, Node::Sequence(Vec::new())),
        };
        Ok(Node::If(number, Box::new([yes, no])))
    }

    /// A reference to what a group matched.
    pub(super) fn back(&self, number: usize, flags: Flags) -> Result<Node, String> {
        match number
            .checked_sub(1)
            .and_then(|place| self.groups.get(place))
        {
            Some(Some(_)) => Ok(Node::Back(number, flags)),
            Some(None) => Err(format!("refers to group {number} within it")),
            None => Err(format!("refers to group {number}, which is not there")),
        }
    }

    fn number_of(&self, name: &str) -> Result<usize, String> {
        let known = self.names.iter().find(|(known, _)| known == name);
        known
            .map(|(_, number)| *number)
            .ok_or_else(|| format!("names a group `{name}`, which is not there"))
    }

    fn check_new(&self, name: &str) -> Result<(), String> {
        let letter = |char: char| char == '_' || char.is_alphabetic();
        let is_name =
            name.starts_with(letter) && name.chars().all(|char| letter(char) || char.is_numeric());
        match (is_name, self.number_of(name)) {
            (false, _) => Err(format!("names a group `{name}`, which is no name")),
            (true, Ok(_)) => Err(format!("names two groups `{name}`")),
            (true, Err(_)) => Ok(()),
        }
    }
}
