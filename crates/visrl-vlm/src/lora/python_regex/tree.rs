//! An expression as a tree, with the flags that each part is read by.

use super::flags::Flags;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Char(char, Flags),
    /// `.`
    Any(Flags),
    Class(Class),
    /// `^` and `\A`, `$` and `\Z`, `\b` and `\B`.
    Place(Place, Flags),
    Sequence(Vec<Node>),
    Alternatives(Vec<Node>),
    /// A group that is captured, in the order of opening parentheses.
    Group(Box<Node>),
    /// `(?>...)`
    Atomic(Box<Node>),
    Look {
        behind: bool,
        negated: bool,
        node: Box<Node>,
    },
    /// What a group matched.
    Back(usize, Flags),
    /// One of two, by whether a group matched.
    If(usize, Box<[Node; 2]>),
    Repeat {
        node: Box<Node>,
        least: u64,
        most: Option<u64>,
        kind: Kind,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Greedy,
    Lazy,
    Possessive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    TextStart,
    TextEnd,
    Boundary,
    NoBoundary,
}

/// A set of characters.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) items: Vec<Item>,
    pub(super) flags: Flags,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Range(char, char),
    /// `\d`, `\D`, `\s`, `\S`, `\w` or `\W`.
    Category(char),
}

/// More characters than these count as these, as in Python.
const MOST: u64 = u32::MAX as u64;

impl Node {
    /// The fewest and the most characters of a match; `groups` has those of the captured ones.
    pub(super) fn width(&self, groups: &[(u64, u64)]) -> (u64, u64) {
        match self {
            Self::Char(..) | Self::Any(_) | Self::Class(_) => (1, 1),
            Self::Place(..) | Self::Look { .. } => (0, 0),
            Self::Group(node) | Self::Atomic(node) => node.width(groups),
            Self::Back(group, _) => groups.get(*group).copied().unwrap_or((0, MOST)),
            Self::Sequence(nodes) => nodes.iter().fold((0, 0), |(least, most), node| {
                let (a, b) = node.width(groups);
                ((least + a).min(MOST), (most + b).min(MOST))
            }),
            Self::Alternatives(nodes) => either(nodes, groups),
            Self::If(_, nodes) => either(nodes.as_slice(), groups),
            Self::Repeat {
                node, least, most, ..
            } => {
                let (a, b) = node.width(groups);
                let most = most.unwrap_or(MOST);
                (
                    a.saturating_mul(*least).min(MOST),
                    b.saturating_mul(most).min(MOST),
                )
            }
        }
    }
}

fn either(nodes: &[Node], groups: &[(u64, u64)]) -> (u64, u64) {
    let widths = nodes.iter().map(|node| node.width(groups));
    let widest = widths.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)));
    widest.unwrap_or((0, 0))
}
