//! Which axis is resized first.

/// Width and height in samples.
pub(crate) type Size = (usize, usize);

/// Whether rows are combined before columns: where the height shrinks by more than twice as many
/// samples as the width.
pub(super) fn vertical_first(from: Size, to: Size) -> bool {
    let shrinks = |from: usize, to: usize| from as i64 - to as i64;
    let rows = shrinks(from.1, to.1);
    rows > 0 && rows > 2 * shrinks(from.0, to.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_first_where_the_height_shrinks_most() {
        assert!(vertical_first((97, 131), (64, 48)));
        assert!(!vertical_first((97, 131), (64, 65)));
        assert!(vertical_first((10, 100), (20, 99)));
        assert!(!vertical_first((10, 100), (20, 100)));
    }
}
