//! How a batch is cut for several threads.

/// Numbers that are worth a thread's while: some ten microseconds of work.
const PIECE: usize = 16 * 1024;

/// How many of `rows` rows of `len` numbers make a piece: pieces of the same size, whatever number
/// of threads there is.
pub(crate) fn size(rows: usize, len: usize) -> usize {
    let pieces = (rows * len).div_ceil(PIECE).max(1);
    rows.div_ceil(pieces).max(1)
}

/// Does work that has several parallel steps on a thread of the pool, where each starts at once, if
/// the batch is more than one piece.
pub(crate) fn on_pool(rows: usize, len: usize, work: impl FnOnce() + Send) {
    if size(rows, len) < rows {
        rayon::scope(|_| work());
    } else {
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_are_one_piece_and_others_are_even() {
        assert_eq!(size(64, 256), 64);
        assert_eq!(size(65, 256), 33);
        assert_eq!(size(400, 250), 58);
        assert_eq!((size(3, 100_000), size(0, 5), size(5, 0)), (1, 1, 5));
    }
}
