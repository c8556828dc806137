use crate::heads::Heads;

/// A segment without earlier tokens of its own: queries, keys and values, and the prefix's keys and
/// values where there is one.
#[cfg_attr(
    not(any(feature = "flex", feature = "cubecl", feature = "tch")),
    allow(dead_code)
)] // Forms read it.
#[derive(Clone, Debug)]
pub(super) struct SharedPrefix {
    pub(super) heads: Heads,
    pub(super) groups: usize,
    pub(super) rows: usize,
    pub(super) len: usize,
}
