//! A group that is being decoded.

use visrl_core::{Completion, StopReason};

use crate::error::Error;
use crate::request::GroupRequest;
use crate::sampler::SampledToken;
use crate::stop::StopRules;

/// A group that is being decoded: a request, its completions so far, and what the engine keeps for
/// it.
///
/// The completions that have not ended are the group's rows, in the order of the samples. They all
/// have as many tokens. An engine decodes one token of each row, gives it to [`push`](Self::push),
/// and takes the rows that have ended by it out of its cache, which
/// [`drop_ended_rows`](Self::drop_ended_rows) tells.
#[derive(Debug)]
pub struct RunningGroup<'r, C> {
    /// What the engine keeps for the group: keys and values of its prompt and its rows, or where
    /// they lie.
    pub cache: C,
    request: &'r GroupRequest,
    /// The request's place among all requests.
    pub(crate) number: usize,
    completions: Vec<Completion>,
    /// By sample.
    ended: Vec<bool>,
    /// The sample of each row.
    rows: Vec<usize>,
    failure: Option<Error>,
}

impl<'r, C> RunningGroup<'r, C> {
    pub(crate) fn new(number: usize, request: &'r GroupRequest, cache: C) -> Self {
        Self {
            cache,
            request,
            number,
            completions: empty_completions(request),
            ended: vec![false; request.num_generations],
            rows: (0..request.num_generations).collect(),
            failure: None,
        }
    }

    /// What the group was asked for by.
    pub fn request(&self) -> &'r GroupRequest {
        self.request
    }

    /// The sample of each row, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The tokens of a row so far; their number is the position of the next one.
    pub fn tokens(&self, row: usize) -> &[u32] {
        &self.completions[self.rows[row]].tokens
    }

    /// The uniform number in `[0, 1)` by which a row's next token is drawn; it depends on the
    /// request, the sample and the position alone.
    pub fn uniform(&self, row: usize) -> f64 {
        let position = self.tokens(row).len();
        self.request.uniform(self.rows[row], position)
    }

    /// Adds the token of each row that goes through the decoder next, with its rotary position: the
    /// prompt's last token at first, since prompts are encoded without it, then the completion's.
    pub fn push_inputs(&self, ids: &mut Vec<u32>, positions: &mut Vec<[u32; 3]>) {
        let input = &self.request.input;
        for row in 0..self.rows.len() {
            let tokens = self.tokens(row);
            match tokens.last() {
                Some(&id) => {
                    ids.push(id);
                    positions.push([input.positions.next + tokens.len() as u32 - 1; 3]);
                }
                None => {
                    ids.extend(input.ids.last());
                    positions.extend(input.positions.ids.last());
                }
            }
        }
    }

    /// Adds the next token of a row, which may end its completion.
    pub fn push(&mut self, row: usize, drawn: SampledToken, stop: &StopRules<'_>) {
        let sample = self.rows[row];
        let completion = &mut self.completions[sample];
        completion.tokens.push(drawn.token);
        completion.logprobs.push(drawn.logp);
        if let Some(reason) = stop.reason(&completion.tokens, &self.request.sampling) {
            completion.stop = reason;
            self.ended[sample] = true;
        }
    }

    /// Drops the rows that have ended and returns the places of those that stay; nothing when all
    /// do.
    pub fn drop_ended_rows(&mut self) -> Option<Vec<usize>> {
        if !self.rows.iter().any(|&sample| self.ended[sample]) {
            return None;
        }
        let places = 0..self.rows.len();
        let stay: Vec<usize> = places.filter(|&row| !self.ended[self.rows[row]]).collect();
        self.rows.retain(|&sample| !self.ended[sample]);
        Some(stay)
    }

    /// Ends the group with an error in the place of its completions.
    pub fn fail(&mut self, error: Error) {
        self.failure = Some(error);
    }

    /// Whether no row is left to decode.
    pub(crate) fn is_finished(&self) -> bool {
        let ended = self.rows.iter().all(|&sample| self.ended[sample]);
        self.failure.is_some() || ended || self.request.cancel.is_cancelled()
    }

    /// The completions as they are, of which those that run count as cancelled, or what went wrong.
    pub(crate) fn finish(self) -> Result<Vec<Completion>, Error> {
        self.failure.map_or(Ok(self.completions), Err)
    }
}

/// Completions that were cancelled before they began.
pub(crate) fn empty_completions(request: &GroupRequest) -> Vec<Completion> {
    let empty = Completion {
        tokens: Vec::new(),
        logprobs: Vec::new(),
        text: String::new(),
        stop: StopReason::Cancelled,
    };
    vec![empty; request.num_generations]
}

#[cfg(test)]
mod tests {
    use visrl_vlm::Tokenizer;

    use super::*;
    use crate::request::request_of;

    const EOS: u32 = 7;

    fn drawn(token: u32) -> SampledToken {
        SampledToken {
            token,
            logp: -0.5,
            truncated_logp: 0.0,
        }
    }

    #[test]
    fn rows_leave_as_they_end_and_samples_keep_their_places() {
        let tokenizer = Tokenizer::from_dir("../../assets/base".as_ref()).unwrap();
        let stop = StopRules {
            eos_token_ids: &[EOS],
            tokenizer: &tokenizer,
        };
        let request = request_of(5, 3, 3);
        let mut group = RunningGroup::new(0, &request, ());
        let inputs = |group: &RunningGroup<'_, ()>| {
            let (mut ids, mut positions) = (Vec::new(), Vec::new());
            group.push_inputs(&mut ids, &mut positions);
            let positions: Vec<u32> = positions.iter().map(|position| position[0]).collect();
            (ids, positions)
        };
        assert_eq!(inputs(&group), (vec![4; 3], vec![4; 3]));
        for (row, token) in [20, EOS, 22].into_iter().enumerate() {
            group.push(row, drawn(token), &stop);
        }
        assert_eq!(group.drop_ended_rows(), Some(vec![0, 2]));
        assert_eq!((group.rows(), group.tokens(1)), (&[0, 2][..], &[22][..]));
        assert_eq!(inputs(&group), (vec![20, 22], vec![15, 15]));
        group.push(0, drawn(30), &stop);
        group.push(1, drawn(32), &stop);
        assert_eq!(group.drop_ended_rows(), None);
        assert_eq!(group.uniform(1), request.uniform(2, 2));
        assert_eq!(inputs(&group), (vec![30, 32], vec![16, 16]));
        assert!(!group.is_finished());
        group.push(0, drawn(40), &stop);
        group.push(1, drawn(42), &stop);
        assert_eq!(group.drop_ended_rows(), Some(vec![]));
        assert!(group.is_finished());

        let completions = group.finish().unwrap();
        let tokens: Vec<_> = completions.iter().map(|c| c.tokens.as_slice()).collect();
        assert_eq!(tokens, [&[20, 30, 40][..], &[EOS], &[22, 32, 42]]);
        let ends = [
            StopReason::MaxTokens,
            StopReason::Eos,
            StopReason::MaxTokens,
        ];
        for (completion, end) in completions.iter().zip(ends) {
            assert_eq!(completion.stop, end);
            assert_eq!(completion.logprobs, vec![-0.5; completion.tokens.len()]);
        }
    }

    #[test]
    fn a_group_ends_by_failure_or_as_it_is() {
        let request = request_of(5, 2, 3);
        let mut group = RunningGroup::new(0, &request, ());
        group.fail(Error::Device("lost".into()));
        assert!(group.is_finished());
        assert!(matches!(group.finish(), Err(Error::Device(_))));

        let group = RunningGroup::new(0, &request, ());
        assert!(!group.is_finished());
        request.cancel.cancel();
        assert!(group.is_finished());
        let completions = group.finish().unwrap();
        assert!(completions.iter().all(|c| c.stop == StopReason::Cancelled));
    }
}
