//! The rows that are decoded together, and their step.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use visrl_vlm::{BatchedCache, KvCache, StepInput, VisionLanguageModel};

use super::policy::Policy;
use super::sampler::{DrawInput, RowSettings};
use crate::damage::damaged_parameter;
use crate::error::Error;
use crate::running_group::RunningGroup;
use crate::sampler::{SampledToken, SamplingParams};
use crate::stop::StopRules;

/// The number of rows is a multiple of this, the rest being idle: products of such shapes are fast,
/// and shapes change seldom.
const ROWS: usize = 8;

/// The room for tokens is a multiple of this, for the same reasons.
const TOKENS: usize = 64;

/// A group that runs, with where its rows are.
pub(super) type Running<'r> = RunningGroup<'r, Places>;

/// Where a group's rows are in the batch.
#[derive(Debug)]
pub(super) struct Places {
    /// The place of each row of the group; none before it has entered.
    rows: Vec<usize>,
    /// Keys and values of the prompt, until the group has entered.
    prefix: Option<KvCache>,
}

impl Places {
    /// Those of a group that has not entered yet.
    pub(super) fn before(prefix: KvCache) -> Self {
        Self {
            rows: Vec::new(),
            prefix: Some(prefix),
        }
    }
}

/// The rows that are decoded together.
///
/// A row that has ended stays idle in its place until rows enter, room is short, or so many are idle
/// that the batch becomes smaller.
#[derive(Debug)]
pub(super) struct Batch {
    cache: BatchedCache,
    /// The tokens that the row at each place has in the cache.
    lengths: Vec<usize>,
    settings: RowSettings,
    /// How often each row has seen each id, `[rows, vocab]`, where it counts.
    seen: Option<Tensor<2>>,
}

impl Batch {
    /// A batch without rows.
    pub(super) fn new<M: VisionLanguageModel>(policy: &Policy<M>) -> Self {
        let head = policy.model.head();
        Self {
            cache: policy.decoder.cache(),
            lengths: Vec::new(),
            settings: RowSettings::new(&[], policy.model.info().vocab_size, &head.device()),
            seen: None,
        }
    }

    /// Decodes a token of every row of these groups and drops the rows that it ends. What goes wrong
    /// ends the groups that it concerns.
    pub(super) fn decode<M: VisionLanguageModel>(
        &mut self,
        policy: &Policy<M>,
        stop: StopRules<'_>,
        running: &mut [Running<'_>],
    ) {
        if running.is_empty() {
            return;
        }
        self.arrange(policy, running);
        match self.step(policy, running) {
            Ok(drawn) => self.push(policy, stop, running, &drawn),
            Err(error) => {
                let lost = || Error::Device(error.to_string());
                running.iter_mut().for_each(|group| group.fail(lost()));
            }
        }
    }

    /// Lets groups enter, and makes room or takes it back, where there is need.
    fn arrange<M: VisionLanguageModel>(&mut self, policy: &Policy<M>, running: &mut [Running<'_>]) {
        let rows: usize = running.iter().map(|group| group.rows().len()).sum();
        let rows = rows.next_multiple_of(ROWS);
        let longest = running.iter().map(|group| self.tokens(&group.cache)).max();
        let needed = longest.unwrap_or(0) + 1;
        let entering = running.iter().any(|group| group.cache.prefix.is_some());
        if !entering && rows == self.cache.rows() && needed <= self.cache.capacity() {
            return;
        }
        let mut keep = Vec::with_capacity(rows);
        for group in &mut *running {
            let first = keep.len();
            keep.append(&mut group.cache.rows);
            group.cache.rows = (first..keep.len()).collect();
        }
        self.lengths = keep.iter().map(|&place| self.lengths[place]).collect();
        self.cache
            .arrange(&keep, rows, needed.next_multiple_of(TOKENS));
        for group in &mut *running {
            if let Some(prefix) = group.cache.prefix.take() {
                let first = self.lengths.len();
                let places = first..first + group.rows().len();
                self.lengths.resize(places.end, prefix.prefix_len());
                self.cache.set_prefix(places.clone(), &prefix);
                group.cache.rows = places.collect();
            }
        }
        self.lengths.resize(rows, 0);
        self.set_up(policy, running);
    }

    /// The tokens of the longest row of a group.
    fn tokens(&self, places: &Places) -> usize {
        let rows = places.rows.iter().map(|&place| self.lengths[place]);
        let prefix = places.prefix.as_ref().map(KvCache::prefix_len);
        rows.chain(prefix).max().unwrap_or(0)
    }

    /// Takes over the settings of all rows.
    fn set_up<M: VisionLanguageModel>(&mut self, policy: &Policy<M>, running: &[Running<'_>]) {
        let idle = SamplingParams::greedy(1);
        let mut params = vec![&idle; self.lengths.len()];
        let mut seen = vec![Vec::new(); self.lengths.len()];
        for group in running {
            let request = group.request();
            for (row, &place) in group.cache.rows.iter().enumerate() {
                params[place] = &request.sampling;
                if request.sampling.repetition_penalty != 1.0 {
                    seen[place] = [&request.input.ids, group.tokens(row)].concat();
                }
            }
        }
        let (vocab, device) = (policy.model.info().vocab_size, policy.model.head().device());
        self.settings = RowSettings::new(&params, vocab, &device);
        self.seen = match self.settings.penalizes() {
            true => Some(policy.sampler.count(&seen)),
            false => None,
        };
    }

    /// The next token of the row at each place; nothing where there is none.
    fn step<M: VisionLanguageModel>(
        &mut self,
        policy: &Policy<M>,
        running: &[Running<'_>],
    ) -> Result<Vec<Option<SampledToken>>, Error> {
        let (rows, info) = (self.lengths.len(), policy.model.info());
        let mut inputs = vec![0i64; 3 * rows];
        let mut uniform = vec![0.0; rows];
        let mut allowed = Vec::new();
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        for group in running {
            ids.clear();
            positions.clear();
            group.push_inputs(&mut ids, &mut positions);
            let choices = group.request().choices.as_ref();
            for (row, &place) in group.cache.rows.iter().enumerate() {
                inputs[place] = i64::from(ids[row]);
                inputs[rows + place] = i64::from(positions[row][0]);
                inputs[2 * rows + place] = self.lengths[place] as i64;
                uniform[place] = group.uniform(row);
                if let Some(list) = choices {
                    allowed.resize(rows, None);
                    allowed[place] = Some(list.after(group.tokens(row), &info.eos_token_ids));
                }
            }
        }
        let device = policy.model.head().device();
        let inputs = TensorData::new(inputs, [3, rows]);
        let inputs = Tensor::<2, Int>::from_data(inputs, &device);
        let [ids, positions, lengths] =
            [0, 1, 2].map(|row| inputs.clone().narrow(0, row, 1).reshape([rows]));
        if let Some(seen) = self.seen.take() {
            // The token before is seen from now on; a prompt's last one was so already.
            let ones = Tensor::ones([rows, 1], &device);
            let before = ids.clone().reshape([rows, 1]);
            self.seen = Some(seen.scatter(1, before, ones, IndexingUpdateOp::Add));
        }
        let input = StepInput {
            ids,
            positions,
            lengths,
        };
        let hidden = policy.decoder.step(input, &mut self.cache);
        let draw = DrawInput {
            uniform: &uniform,
            seen: self.seen.as_ref(),
            allowed: &allowed,
        };
        let logits = policy.logits(hidden);
        policy.sampler.sample(logits, &self.settings, &draw)
    }

    /// Gives the tokens to their rows.
    fn push<M: VisionLanguageModel>(
        &mut self,
        policy: &Policy<M>,
        stop: StopRules<'_>,
        running: &mut [Running<'_>],
        drawn: &[Option<SampledToken>],
    ) {
        for group in running {
            let mut failed = None;
            for row in 0..group.rows().len() {
                let place = group.cache.rows[row];
                self.lengths[place] += 1;
                match drawn[place] {
                    Some(token) => group.push(row, token, &stop),
                    None => failed = Some((place, group.tokens(row).len())),
                }
            }
            if let Some((place, position)) = failed {
                let layer = self.cache.first_damaged_layer(place, self.lengths[place]);
                let error = Error::NotFinite {
                    id: group.request().prompt.id.clone(),
                    position,
                    layer,
                    parameter: damaged_parameter(&policy.model),
                };
                group.fail(error);
            } else if let Some(stay) = group.drop_ended_rows() {
                let places = &group.cache.rows;
                group.cache.rows = stay.iter().map(|&row| places[row]).collect();
            }
        }
    }
}
