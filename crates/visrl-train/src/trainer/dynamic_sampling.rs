//! Dynamic sampling ("DAPO", arXiv 2503.14476): groups that teach nothing are replaced by groups of
//! further prompts, within the step.

use super::scored_group::ScoredGroup;
use crate::error::Error;

/// The groups that a step asked for.
pub(super) struct Sampled<G> {
    /// Those to learn from, at most as many as wanted.
    pub(super) kept: Vec<G>,
    /// Those that were put aside because all their completions are worth the same.
    pub(super) aside: Vec<G>,
}

impl<G> Sampled<G> {
    /// All of them, kept ones first.
    pub(super) fn all(&self) -> impl Iterator<Item = &G> {
        self.kept.iter().chain(&self.aside)
    }

    /// The batch of a step: what was put aside last fills up what is missing.
    pub(super) fn into_batch(mut self, wanted: usize) -> Vec<G> {
        let missing = wanted.saturating_sub(self.kept.len());
        self.kept.extend(self.aside.into_iter().rev().take(missing));
        self.kept
    }
}

/// Asks `sample` for `wanted` groups and then, for at most `rounds` rounds, for as many further ones
/// as there are even ones. It is given the number of the first prompt within the step, and how many.
pub(super) fn dynamic_sampling<G: Even>(
    wanted: usize,
    rounds: usize,
    mut sample: impl FnMut(usize, usize) -> Result<Vec<G>, Error>,
) -> Result<Sampled<G>, Error> {
    let mut kept = sample(0, wanted)?;
    let mut asked = kept.len();
    let mut aside = Vec::new();
    for _ in 0..rounds {
        let (even, varied): (Vec<_>, Vec<_>) = kept.into_iter().partition(Even::is_even);
        kept = varied;
        aside.extend(even);
        let missing = wanted.saturating_sub(kept.len());
        if missing == 0 {
            break;
        }
        let more = sample(asked, missing)?;
        asked += more.len();
        kept.extend(more);
    }
    Ok(Sampled { kept, aside })
}

/// What may have nothing to compare.
pub(super) trait Even {
    /// Whether all is worth the same.
    fn is_even(&self) -> bool;
}

impl Even for ScoredGroup {
    fn is_even(&self) -> bool {
        Self::is_even(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of a prompt; those that three divides are even.
    impl Even for usize {
        fn is_even(&self) -> bool {
            self.is_multiple_of(3)
        }
    }

    fn sampled(wanted: usize, rounds: usize) -> (Sampled<usize>, Vec<(usize, usize)>) {
        let mut calls = Vec::new();
        let sampled = dynamic_sampling(wanted, rounds, |first, count| {
            calls.push((first, count));
            Ok((first..first + count).collect())
        });
        (sampled.unwrap(), calls)
    }

    #[test]
    fn without_rounds_every_group_is_kept() {
        let (sampled, calls) = sampled(4, 0);
        assert_eq!((sampled.kept, sampled.aside.len()), (vec![0, 1, 2, 3], 0));
        assert_eq!(calls, [(0, 4)]);
    }

    #[test]
    fn even_groups_are_replaced_by_further_prompts() {
        let (sampled, calls) = sampled(4, 5);
        assert_eq!(calls, [(0, 4), (4, 2)]);
        assert_eq!(sampled.all().collect::<Vec<_>>(), [&1, &2, &4, &5, &0, &3]);
        assert_eq!(sampled.into_batch(4), [1, 2, 4, 5]);
    }

    #[test]
    fn what_was_put_aside_last_fills_up() {
        let batch = Sampled {
            kept: vec![1],
            aside: vec![0, 3, 6],
        };
        assert_eq!(batch.into_batch(3), [1, 6, 3]);
    }
}
