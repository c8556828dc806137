//! Drawing tokens from logits.
//!
//! A vocabulary of 152,000 ids is gone over a few times in plain loops, and never sorted: top-k
//! keeps the k largest in a small buffer, top-p and typical-p halve the candidates around the cut.

mod distribution;
mod math;
mod params;
mod select;

pub use distribution::Distribution;
use math::LogNorm;
pub use params::SamplingParams;

/// What a draw depends on beside logits and parameters.
///
/// Banned ids alone serve as well: `sampler.sample(&logits, &params, &[7], u)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// Ids that are never drawn. They count in the log-probability's softmax, which is the model's
    /// own.
    pub banned: &'a [u32],
    /// The prompt's ids, image tokens included, for the repetition penalty.
    pub prompt: &'a [u32],
    /// The completion's ids so far, for the repetition penalty.
    pub completion: &'a [u32],
    /// The only ids that may be drawn; nothing allows all. Others count in the log-probability's
    /// softmax.
    pub allowed: Option<&'a [u32]>,
}

impl<'a> From<&'a [u32]> for Context<'a> {
    fn from(banned: &'a [u32]) -> Self {
        Self {
            banned,
            ..Self::default()
        }
    }
}

impl<'a> From<&'a Vec<u32>> for Context<'a> {
    fn from(banned: &'a Vec<u32>) -> Self {
        banned.as_slice().into()
    }
}

impl<'a, const N: usize> From<&'a [u32; N]> for Context<'a> {
    fn from(banned: &'a [u32; N]) -> Self {
        banned.as_slice().into()
    }
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the full softmax of the raw logits at temperature 1, in nats.
    pub logprob: f32,
    /// Its log-probability under the distribution it was drawn from, after temperature and
    /// filters, in nats; 0 when greedy.
    pub truncated_logprob: f32,
}

/// Draws tokens from rows of logits; holds the working memory, which it keeps from row to row.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    /// Logits of the whole vocabulary after penalty, bans and temperature.
    processed: Vec<f32>,
    /// The ids still kept, ascending, with their scores.
    ids: Vec<u32>,
    scores: Vec<f32>,
    /// The probabilities of the ids kept.
    probabilities: Vec<f32>,
    /// Room to look for cuts.
    room: Vec<f32>,
    keys: Vec<u64>,
}

impl Sampler {
    /// Draws a token from logits `[vocab]` with a uniform number `u` in `[0, 1)`: the first token,
    /// in the order of ids, whose cumulative kept probability exceeds `u`.
    ///
    /// `context` is a [`Context`] or the banned ids alone. Returns nothing when a logit is NaN or
    /// plus infinity, and when no token is left to draw.
    pub fn sample<'c>(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        context: impl Into<Context<'c>>,
        u: f64,
    ) -> Option<Sampled> {
        let full = LogNorm::of(logits)?;
        let kept = self.keep(logits, params, context.into())?;
        let place = kept.draw(u);
        let token = *kept.ids.get(place)?;
        Some(Sampled {
            token,
            logprob: full.logprob(*logits.get(token as usize)?),
            truncated_logprob: kept.norm.logprob(*kept.scores.get(place)?),
        })
    }

    /// The distribution that tokens are drawn from, for logits `[vocab]`.
    ///
    /// `context` is a [`Context`] or the banned ids alone. Returns nothing when a logit is NaN or
    /// plus infinity, and when no token is left to draw.
    pub fn distribution<'c>(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        context: impl Into<Context<'c>>,
    ) -> Option<Distribution<'_>> {
        LogNorm::of(logits)?;
        self.keep(logits, params, context.into())
    }

    fn keep(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        context: Context<'_>,
    ) -> Option<Distribution<'_>> {
        self.process(logits, params, context);
        if params.temperature == 0.0 {
            self.keep_most_likely();
        } else {
            self.keep_top_k(params.top_k);
            self.keep_top_p(params.top_p);
            self.keep_min_p(params.min_p);
            self.keep_typical(params.typical_p);
        }
        let norm = LogNorm::with_probabilities(&self.scores, &mut self.probabilities)?;
        let Self {
            ids,
            scores,
            probabilities,
            ..
        } = self;
        Some(Distribution {
            ids,
            scores,
            probabilities,
            norm,
        })
    }

    /// Repetition penalty, bans and temperature.
    fn process(&mut self, logits: &[f32], params: &SamplingParams, context: Context<'_>) {
        let scores = &mut self.processed;
        scores.clear();
        scores.extend_from_slice(logits);
        if params.repetition_penalty != 1.0 {
            let penalty = params.repetition_penalty as f32;
            for &id in context.prompt.iter().chain(context.completion) {
                // From the logit, not the score: a token seen twice is penalised once.
                let (Some(score), Some(&logit)) =
                    (scores.get_mut(id as usize), logits.get(id as usize))
                else {
                    continue;
                };
                *score = if logit < 0.0 {
                    logit * penalty
                } else {
                    logit / penalty
                };
            }
        }
        if let Some(allowed) = context.allowed {
            let kept = allowed
                .iter()
                .filter_map(|&id| Some((id, *scores.get(id as usize)?)));
            let kept: Vec<(u32, f32)> = kept.collect();
            scores.fill(f32::NEG_INFINITY);
            for (id, score) in kept {
                scores[id as usize] = score;
            }
        }
        for &id in context.banned {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        if params.temperature != 0.0 && params.temperature != 1.0 {
            let temperature = params.temperature as f32;
            scores.iter_mut().for_each(|score| *score /= temperature);
        }
    }

    /// Keeps the first of the most likely tokens.
    fn keep_most_likely(&mut self) {
        let most = math::max(&self.processed);
        select::gather(&self.processed, most, &mut self.ids, &mut self.scores);
        self.ids.truncate(1);
        self.scores.truncate(1);
    }

    /// Keeps the k largest scores and what ties with the least of them.
    fn keep_top_k(&mut self, k: usize) {
        let least = select::kth_largest(&self.processed, k, &mut self.room);
        select::gather(&self.processed, least, &mut self.ids, &mut self.scores);
    }

    /// Drops the least likely tokens as long as they sum to at most `1 - top_p`; of equally likely
    /// ones, those with higher ids first. The most likely token always stays.
    fn keep_top_p(&mut self, top_p: f64) {
        if top_p >= 1.0 || !self.normalize() {
            return;
        }
        let limit = (1.0 - top_p) as f32;
        let crossed = |sum| sum > limit;
        let max = math::max(&self.scores);
        let range = (max - self.reach(limit), max);
        let Self {
            scores,
            probabilities,
            keys,
            ..
        } = self;
        if let Some(cut) = select::first_crossing(scores, probabilities, range, keys, crossed) {
            self.retain(|place, score, _| select::key(score, place) >= cut);
        }
    }

    /// Keeps tokens with at least this share of the most likely one's probability.
    fn keep_min_p(&mut self, min_p: f64) {
        if min_p > 0.0 && self.normalize() {
            let least = math::max(&self.probabilities) * (min_p.min(1.0) as f32);
            self.retain(|_, _, probability| probability >= least);
        }
    }

    /// Keeps the tokens whose surprise is nearest to the entropy and which sum to `mass`, with all
    /// that are as near as the last of them.
    fn keep_typical(&mut self, mass: f64) {
        if mass >= 1.0 {
            return;
        }
        let Some(norm) = LogNorm::with_probabilities(&self.scores, &mut self.probabilities) else {
            return;
        };
        let entropy = math::entropy(norm, &self.scores, &self.probabilities) as f32;
        let distance = |score: f32| (-norm.logprob(score) - entropy).abs();
        let (missing, mass) = ((1.0 - mass) as f32, mass as f32);
        let crossed = |sum| sum >= mass;
        let range = (-1.0, self.reach(missing).max(entropy));
        let Self {
            scores,
            probabilities,
            keys,
            room,
            ..
        } = self;
        room.clear();
        room.extend(scores.iter().map(|&score| distance(score)));
        if let Some(cut) = select::first_crossing(room, probabilities, range, keys, crossed) {
            let furthest = select::rank(cut);
            self.retain(|_, score, _| select::rank(select::key(distance(score), 0)) <= furthest);
        }
    }

    /// How far below the largest logit tokens are so unlikely that all of them together have less
    /// than half of this probability.
    fn reach(&self, probability: f32) -> f32 {
        (2.0 * self.scores.len() as f32 / probability).ln()
    }

    /// Computes the probabilities of the tokens kept so far; false when they have none.
    fn normalize(&mut self) -> bool {
        LogNorm::with_probabilities(&self.scores, &mut self.probabilities).is_some()
    }

    /// Keeps tokens by place, score and probability.
    fn retain(&mut self, keep: impl Fn(usize, f32, f32) -> bool) {
        let mut kept = 0;
        for place in 0..self.ids.len() {
            let (id, score) = (self.ids[place], self.scores[place]);
            (self.ids[kept], self.scores[kept]) = (id, score);
            kept += usize::from(keep(place, score, self.probabilities[place]));
        }
        self.ids.truncate(kept);
        self.scores.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn kept(params: &SamplingParams) -> Vec<u32> {
        let mut sampler = Sampler::default();
        let kept = sampler.distribution(&LOGITS, params, &[]).unwrap();
        assert!((kept.probabilities().iter().sum::<f32>() - 1.0).abs() < 1e-6);
        kept.ids().to_vec()
    }

    #[test]
    fn filters_keep_what_they_say() {
        let all = SamplingParams {
            top_k: 0,
            ..Default::default()
        };
        assert_eq!(kept(&all), [0, 1, 2, 3, 4]);
        assert_eq!(
            kept(&SamplingParams {
                top_k: 1,
                ..all.clone()
            }),
            [1, 3],
            "ties stay"
        );
        assert_eq!(
            kept(&SamplingParams {
                top_k: 3,
                ..all.clone()
            }),
            [1, 2, 3]
        );
        assert_eq!(
            kept(&SamplingParams {
                top_p: 0.75,
                ..all.clone()
            }),
            [1, 3]
        );
        assert_eq!(
            kept(&SamplingParams {
                top_p: 1e-9,
                ..all.clone()
            }),
            [1],
            "one stays"
        );
        assert_eq!(
            kept(&SamplingParams {
                min_p: 0.3,
                ..all.clone()
            }),
            [1, 2, 3]
        );
        // Probabilities .06, .40, .15, .40, .01 and entropy 1.2: surprise .9 is nearest.
        assert_eq!(
            kept(&SamplingParams {
                typical_p: 0.5,
                ..all.clone()
            }),
            [1, 3]
        );
        assert_eq!(
            kept(&SamplingParams {
                typical_p: 0.9,
                ..all
            }),
            [1, 2, 3]
        );
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_never_a_banned_token() {
        let greedy = SamplingParams::greedy(1);
        let mut sampler = Sampler::default();
        let drawn = sampler.sample(&LOGITS, &greedy, &[], 0.5).unwrap();
        assert_eq!((drawn.token, drawn.truncated_logprob), (1, 0.0));
        assert_eq!(
            sampler.sample(&LOGITS, &greedy, &[1], 0.5).unwrap().token,
            3
        );
        assert_eq!(
            sampler.sample(&LOGITS, &greedy, &[0, 1, 2, 3, 4], 0.5),
            None
        );
    }

    #[test]
    fn repetition_is_penalised_once_per_token_and_when_greedy_too() {
        let params = SamplingParams {
            repetition_penalty: 2.0,
            ..SamplingParams::greedy(1)
        };
        let context = Context {
            prompt: &[1, 1, 9],
            completion: &[3, 4],
            ..Context::default()
        };
        let mut sampler = Sampler::default();
        assert_eq!(
            sampler
                .sample(&LOGITS, &params, context, 0.5)
                .unwrap()
                .token,
            2
        );
        let params = SamplingParams {
            temperature: 1.0,
            ..params
        };
        let penalised = sampler.distribution(&LOGITS, &params, context).unwrap();
        assert_eq!(penalised.scores(), [1.0, 1.5, 2.0, 1.5, -2.0]);
    }

    #[test]
    fn log_probabilities_are_the_full_and_the_truncated_softmax_s() {
        let params = SamplingParams {
            temperature: 0.5,
            top_k: 3,
            ..Default::default()
        };
        let drawn = Sampler::default()
            .sample(&LOGITS, &params, &[3], 0.0)
            .unwrap();
        assert_eq!(drawn.token, 0);
        let sum: f32 = LOGITS.iter().map(|x| x.exp()).sum();
        assert!((drawn.logprob - (1.0 - sum.ln())).abs() < 1e-6);
        let sum: f32 = [2.0f32, 6.0, 4.0].iter().map(|x| x.exp()).sum();
        assert!((drawn.truncated_logprob - (2.0 - sum.ln())).abs() < 1e-6);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let params = SamplingParams {
            top_k: 0,
            ..Default::default()
        };
        let mut sampler = Sampler::default();
        let expected = sampler
            .distribution(&LOGITS, &params, &[])
            .unwrap()
            .probabilities()
            .to_vec();
        let mut counts = [0usize; 5];
        let n = 10_000;
        for i in 0..n {
            let u = (i as f64 + 0.5) / n as f64;
            counts[sampler.sample(&LOGITS, &params, &[], u).unwrap().token as usize] += 1;
        }
        for (count, p) in counts.iter().zip(expected) {
            assert!((*count as f32 / n as f32 - p).abs() < 2e-4);
        }
    }

    #[test]
    fn what_is_not_a_number_is_not_sampled() {
        let params = SamplingParams::default();
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(&[0.0, f32::NAN], &params, &[], 0.5), None);
        assert_eq!(
            sampler.sample(&[f32::INFINITY, 0.0], &params, &[], 0.5),
            None
        );
        assert_eq!(
            sampler.sample(&[f32::NEG_INFINITY; 2], &params, &[], 0.5),
            None
        );
        assert_eq!(sampler.sample(&[], &params, &[], 0.5), None);
        assert_eq!(sampler.sample(&[1.0, 2.0], &params, &[0, 1], 0.5), None);
    }

    #[test]
    fn working_memory_is_kept() {
        let params = SamplingParams {
            top_p: 0.9,
            typical_p: 0.9,
            ..Default::default()
        };
        let logits: Vec<f32> = (0..5000)
            .map(|i| (i as f32 * 12.9898).sin() * 8.0)
            .collect();
        let mut sampler = Sampler::default();
        let sizes = |s: &Sampler| {
            let floats = [&s.processed, &s.scores, &s.probabilities, &s.room];
            (
                floats.map(Vec::capacity),
                s.ids.capacity(),
                s.keys.capacity(),
            )
        };
        sampler.sample(&logits, &params, &[], 0.5).unwrap();
        let warm = sizes(&sampler);
        for i in 0..20 {
            sampler
                .sample(&logits, &params, &[], f64::from(i) / 20.0)
                .unwrap();
        }
        assert_eq!(sizes(&sampler), warm);
    }
}
