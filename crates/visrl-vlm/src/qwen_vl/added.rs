//! What is added to states after the first layers.

use burn::tensor::Tensor;

/// Columns that lie behind those of the states, as many for each of the first layers.
pub(super) struct Added {
    all: Tensor<2>,
    width: usize,
    /// Layers whose part is left.
    left: usize,
}

impl Added {
    /// The first `width` columns, and what lies behind them.
    pub(super) fn split(all: Tensor<2>, width: usize) -> (Tensor<2>, Self) {
        let left = all.dims()[1] / width - 1;
        let states = match left {
            0 => all.clone(),
            _ => all.clone().narrow(1, 0, width),
        };
        (states, Self { all, width, left })
    }

    fn last(&self, parts: usize) -> Tensor<2> {
        let [_, columns] = self.all.dims();
        let width = self.left * self.width;
        let all = self.all.clone();
        all.narrow(1, columns - width, parts * self.width)
    }

    /// Adds the next layer's part, where there is one.
    pub(super) fn add(&mut self, states: Tensor<2>) -> Tensor<2> {
        if self.left == 0 {
            return states;
        }
        let next = self.last(1);
        self.left -= 1;
        states + next
    }

    /// What was not added, if anything.
    pub(super) fn rest(&self) -> Option<Tensor<2>> {
        (self.left > 0).then(|| self.last(self.left))
    }
}
