//! Writing an expression in the syntax of the `fancy-regex` crate.

use std::fmt::Write;

use super::flags::Flags;
use super::tree::{Class, Item, Kind, Node, Place};

/// The longest name that is looked at, in bytes. More repetitions than a name has characters are as
/// good as any number of them, or never match, which keeps what is compiled small.
pub(super) const LONGEST: u64 = 128;

/// What never matches.
const NEVER: &str = "(?!)";

/// Writes an expression; `groups` are the widths of its groups.
pub(super) fn write(node: &Node, groups: &[(u64, u64)], out: &mut String) {
    let all = |nodes: &[Node], between: &str, out: &mut String| {
        for (place, node) in nodes.iter().enumerate() {
            out.push_str(if place == 0 { "" } else { between });
            write(node, groups, out);
        }
    };
    let within = |before: &str, node: &Node, out: &mut String| {
        out.push_str(before);
        write(node, groups, out);
        out.push(')');
    };
    match node {
        Node::Char(char, flags) => cased(*flags, out, |out| literal(*char, out)),
        Node::Any(flags) => out.push_str(if flags.dot_all { "(?s:.)" } else { "." }),
        Node::Class(class) => cased(class.flags, out, |out| set(class, out)),
        Node::Place(place, flags) => out.push_str(place_of(*place, *flags)),
        Node::Sequence(nodes) => {
            out.push_str("(?:");
            all(nodes, "", out);
            out.push(')');
        }
        Node::Alternatives(nodes) => {
            out.push_str("(?:");
            all(nodes, "|", out);
            out.push(')');
        }
        Node::Group(node) => within("(", node, out),
        Node::Atomic(node) => within("(?>", node, out),
        Node::Look {
            behind,
            negated,
            node,
        } => {
            out.push_str(match (behind, negated) {
                (false, false) => "(?=",
                (false, true) => "(?!",
                (true, false) => "(?<=",
                (true, true) => "(?<!",
            });
            write(node, groups, out);
            out.push(')');
        }
        Node::Back(group, flags) => cased(*flags, out, |out| {
            let _ = write!(out, "(?:\\{group})");
        }),
        Node::If(group, nodes) => {
            let _ = write!(out, "(?({group})");
            all(nodes.as_slice(), "|", out);
            out.push(')');
        }
        Node::Repeat {
            node,
            least,
            most,
            kind,
        } => repeat(node, (*least, *most, *kind), groups, out),
    }
}

fn repeat(
    node: &Node,
    (least, most, kind): (u64, Option<u64>, Kind),
    groups: &[(u64, u64)],
    out: &mut String,
) {
    let (narrowest, widest) = node.width(groups);
    let mut inner = String::from("(?:");
    write(node, groups, &mut inner);
    inner.push(')');
    if narrowest.saturating_mul(least) > LONGEST {
        // Its groups stay, so that the others keep their numbers.
        let _ = write!(out, "(?:{NEVER}{inner})");
        return;
    }
    if most == Some(0) {
        let _ = write!(out, "(?:{NEVER}{inner}|)");
        return;
    }
    if widest == 0 {
        let _ = match least {
            0 => write!(out, "(?:{inner}|)"),
            _ => write!(out, "{inner}"),
        };
        return;
    }
    let least = least.min(LONGEST + 1);
    let possessive = kind == Kind::Possessive;
    if possessive {
        out.push_str("(?>");
    }
    out.push_str(&inner);
    let _ = match (least, most.filter(|most| *most <= LONGEST)) {
        (0, None) => write!(out, "*"),
        (1, None) => write!(out, "+"),
        (0, Some(1)) => write!(out, "?"),
        (least, None) => write!(out, "{{{least},}}"),
        (least, Some(most)) => write!(out, "{{{least},{most}}}"),
    };
    out.push_str(match kind {
        Kind::Greedy => "",
        Kind::Lazy => "?",
        Kind::Possessive => ")",
    });
}

/// Writes something that may be read without regard to the case of letters.
fn cased(flags: Flags, out: &mut String, write: impl FnOnce(&mut String)) {
    if flags.ignore_case {
        out.push_str("(?i:");
    }
    write(out);
    if flags.ignore_case {
        out.push(')');
    }
}

fn literal(char: char, out: &mut String) {
    match char.is_ascii_alphanumeric() || char == '_' {
        true => out.push(char),
        false => {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(char));
        }
    }
}

fn place_of(place: Place, flags: Flags) -> &'static str {
    match (place, flags.lines) {
        (Place::Start, true) => "(?m:^)",
        (Place::Start, false) | (Place::TextStart, _) => r"\A",
        (Place::End, true) => "(?m:$)",
        // Before a line break at the end, too.
        (Place::End, false) => r"(?=\n?\z)",
        (Place::TextEnd, _) => r"\z",
        (Place::Boundary, _) => r"\b",
        (Place::NoBoundary, _) => r"\B",
    }
}

fn set(class: &Class, out: &mut String) {
    out.push_str(if class.negated { "[^" } else { "[" });
    for item in &class.items {
        match item {
            Item::Range(low, high) => {
                literal(*low, out);
                if low != high {
                    out.push('-');
                    literal(*high, out);
                }
            }
            Item::Category(letter) => {
                let inner = match (letter.to_ascii_lowercase(), class.flags.ascii) {
                    ('d', false) => r"\d",
                    ('d', true) => "0-9",
                    ('s', false) => r"\s\x1C-\x1F",
                    ('s', true) => r"\x20\t\n\r\x0B\x0C",
                    (_, false) => r"\w",
                    (_, true) => "0-9A-Z_a-z",
                };
                let not = if letter.is_ascii_uppercase() { "^" } else { "" };
                let _ = write!(out, "[{not}{inner}]");
            }
        }
    }
    out.push(']');
}
