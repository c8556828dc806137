use burn::tensor::Tensor;

/// New tokens of groups of rows, and the keys and values that they see.
///
/// The rows of a group share a prefix, and each has tokens of its own, of which the last `len` are
/// new: their queries are given to [`attend`](super::attend), their keys and values are in `own` already.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Groups, each with a prefix of its own.
    pub groups: usize,
    /// Rows of each group.
    pub rows: usize,
    /// New tokens of each row.
    pub len: usize,
    /// Keys and values that the rows of a group share, `[groups, prefix, kv heads * dim]` each.
    pub prefix: Option<&'a [Tensor<3>; 2]>,
    /// Keys and values of the rows, `[groups * rows, capacity, kv heads * dim]` each, of which the
    /// first `own_len` tokens of each row are there.
    pub own: &'a [Tensor<3>; 2],
    /// Tokens that each row has of its own, the new ones among them.
    pub own_len: usize,
}

impl Segment<'_> {
    /// New tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.groups * self.rows * self.len
    }
}
