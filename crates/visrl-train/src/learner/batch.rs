//! A batch of groups in the order in which it runs through the model.

use std::ops::Range;

use visrl_core::TokenRows;
use visrl_vlm::{ModelInput, SharedPrompt};

use super::config::LearnerConfig;
use super::groups::TokenGroup;
use crate::error::Error;

/// The completions of a batch as rows: cut into micro-batches, and within these sorted so that the
/// decoder sees few segments. All numbers per row and per token follow this order.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    micro_batches: Vec<MicroBatch<'a>>,
    /// Where each row ends, in tokens.
    ends: Vec<usize>,
    /// The number of each row in the order of the groups.
    numbers: Vec<usize>,
}

/// Completions that run through the model together.
#[derive(Debug)]
pub(crate) struct MicroBatch<'a> {
    /// Its prompts with their completions.
    pub(crate) prompts: Vec<PromptRows<'a>>,
    /// The tokens of its rows: what hidden states predict.
    pub(crate) targets: Vec<u32>,
    /// Its rows in the batch.
    pub(crate) rows: Range<usize>,
    /// Its tokens in the batch.
    pub(crate) tokens: Range<usize>,
}

/// Completions that share one encoded prompt.
#[derive(Clone, Debug)]
pub(crate) struct PromptRows<'a> {
    group: &'a TokenGroup,
    members: Range<usize>,
    /// The number of the first member in the order of the groups.
    number: usize,
}

impl<'a> PromptRows<'a> {
    /// The prompt.
    pub(crate) fn input(&self) -> &'a ModelInput {
        &self.group.input
    }

    /// The tokens of each completion.
    pub(crate) fn completions(&self) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let completions = &self.group.completions;
        self.members.clone().map(|member| completions.row(member))
    }

    /// The prompt, to be encoded for its completions.
    pub(crate) fn shared(&self) -> SharedPrompt<'a> {
        SharedPrompt {
            input: self.input(),
            rows: self.members.len(),
        }
    }
}

impl<'a> Batch<'a> {
    /// Lays out groups as the settings say: so many in a micro-batch, and each with its prompt
    /// encoded once for all completions or once for each.
    ///
    /// # Errors
    /// [`Error::Config`] when a prompt or a completion has no tokens.
    pub(crate) fn new(
        groups: impl IntoIterator<Item = &'a TokenGroup>,
        config: &LearnerConfig,
    ) -> Result<Self, Error> {
        let mut number = 0;
        let mut numbered = Vec::new();
        for group in groups {
            if group.completions.iter().any(<[u32]>::is_empty) {
                return Err(Error::config("completions", "hold one without tokens"));
            }
            if group.input.ids.is_empty() {
                return Err(Error::config("input", "is a prompt without tokens"));
            }
            numbered.push((number, group));
            number += group.completions.rows();
        }
        let size = match config.micro_batch_groups {
            0 => numbered.len().max(1),
            size => size,
        };
        let mut batch = Self::default();
        for part in numbered.chunks(size) {
            batch.push(part, config.shared_prefix);
        }
        Ok(batch)
    }

    fn push(&mut self, groups: &[(usize, &'a TokenGroup)], shared_prefix: bool) {
        let mut prompts = Vec::new();
        for &(number, group) in groups {
            let count = group.completions.rows();
            let step = if shared_prefix { count.max(1) } else { 1 };
            prompts.extend((0..count).step_by(step).map(|first| PromptRows {
                group,
                members: first..first + step,
                number: number + first,
            }));
        }
        if prompts.is_empty() {
            return;
        }
        prompts.sort_by_key(|prompt| (prompt.input().ids.len(), prompt.members.len()));
        let (first_row, first_token) = (self.rows(), self.tokens());
        let mut targets = Vec::new();
        for prompt in &prompts {
            for (member, tokens) in prompt.completions().enumerate() {
                targets.extend_from_slice(tokens);
                self.ends.push(first_token + targets.len());
                self.numbers.push(prompt.number + member);
            }
        }
        self.micro_batches.push(MicroBatch {
            prompts,
            targets,
            rows: first_row..self.rows(),
            tokens: first_token..self.tokens(),
        });
    }

    /// What runs through the model together.
    pub(crate) fn micro_batches(&self) -> &[MicroBatch<'a>] {
        &self.micro_batches
    }

    /// Where each row ends, `[rows]`, in tokens.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Number of tokens of all rows.
    pub(crate) fn tokens(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// One value per row from the order of the groups to that of the batch.
    pub(crate) fn order_rows<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.numbers.iter().map(|&number| values[number]).collect()
    }

    /// One value per token from the order of the groups to that of the batch.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field when its rows are not those of the groups.
    pub(crate) fn order_tokens(
        &self,
        field: &'static str,
        values: &TokenRows<f32>,
    ) -> Result<Vec<f32>, Error> {
        let mut ordered = Vec::with_capacity(self.tokens());
        let fits = values.rows() == self.rows();
        for (&number, &end) in self.numbers.iter().zip(&self.ends) {
            if fits {
                ordered.extend_from_slice(values.row(number));
            }
            if ordered.len() != end {
                let message = "must hold one value for each token of each completion";
                return Err(Error::config(field, message));
            }
        }
        Ok(ordered)
    }

    /// One value per token from the order of the batch back to that of the groups.
    pub(crate) fn restore(&self, values: &[f32]) -> TokenRows<f32> {
        let mut rows = vec![0..0; self.rows()];
        let mut start = 0;
        for (&number, &end) in self.numbers.iter().zip(&self.ends) {
            rows[number] = start..end;
            start = end;
        }
        rows.into_iter()
            .map(|row| values[row].iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use visrl_vlm::Positions;

    use super::*;

    /// A group behind a prompt of so many tokens.
    fn group(prompt: usize, completions: &[&[u32]]) -> TokenGroup {
        let input = ModelInput {
            ids: vec![7; prompt],
            images: Vec::new(),
            positions: Positions {
                ids: vec![[0; 3]; prompt],
                next: prompt as u32,
            },
        };
        TokenGroup {
            input: Arc::new(input),
            completions: completions.iter().map(|ids| ids.to_vec()).collect(),
        }
    }

    fn config(micro_batch_groups: usize, shared_prefix: bool) -> LearnerConfig {
        LearnerConfig {
            micro_batch_groups,
            shared_prefix,
            ..LearnerConfig::default()
        }
    }

    #[test]
    fn what_is_ordered_comes_back() {
        let groups = [
            group(5, &[&[1, 2], &[3]]),
            group(3, &[&[4]]),
            group(4, &[]),
            group(2, &[&[5, 6, 7], &[8]]),
        ];
        let given = TokenRows::from(vec![
            vec![0.1f32, 0.2],
            vec![0.3],
            vec![0.4],
            vec![0.5, 0.6, 0.7],
            vec![0.8],
        ]);
        for (size, shared, count) in [(0, true, 1), (0, false, 1), (1, true, 3), (3, true, 2)] {
            let batch = Batch::new(&groups, &config(size, shared)).unwrap();
            assert_eq!((batch.rows(), batch.tokens()), (5, 8));
            assert_eq!(batch.micro_batches().len(), count, "{size}");
            let ordered = batch.order_tokens("logps", &given).unwrap();
            assert_eq!(batch.restore(&ordered), given);
            // The tokens of the order are the targets.
            let targets = batch.micro_batches().iter().flat_map(|part| &part.targets);
            let tenths = ordered.iter().map(|value| (value * 10.0).round() as u32);
            assert!(tenths.eq(targets.copied()), "{size} {shared}");
        }
        // Shorter prompts first, within a micro-batch.
        let batch = Batch::new(&groups, &config(0, true)).unwrap();
        assert_eq!(batch.order_rows(&[1, 2, 3, 4, 5]), [4, 5, 3, 1, 2]);
        assert_eq!(batch.ends(), [3, 4, 5, 7, 8]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let groups = [group(2, &[&[1, 2], &[3]])];
        let config = config(0, true);
        let batch = Batch::new(&groups, &config).unwrap();
        for rows in [vec![vec![0.0]], vec![vec![0.0], vec![0.0]], vec![vec![]; 3]] {
            let error = batch.order_tokens("reference", &rows.into()).unwrap_err();
            assert!(error.to_string().starts_with("`reference` must"), "{error}");
        }
        for group in [group(2, &[&[1], &[]]), group(0, &[&[1]])] {
            assert!(Batch::new([&group], &config).is_err());
        }
    }
}
