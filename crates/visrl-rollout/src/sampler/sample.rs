//! From a row of logits to a token.

use super::candidates::Candidates;
use super::context::SamplingContext;
use super::distribution::Distribution;
use super::filters;
use super::log_softmax::LogSoftmax;
use super::params::SamplingParams;

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledToken {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the full softmax of the raw logits at temperature 1, before
    /// penalty, bans and filters, in nats.
    pub logp: f32,
    /// Its log-probability under the distribution it was drawn from, after temperature and
    /// filters, in nats; 0 when greedy.
    pub truncated_logp: f32,
}

/// Draws tokens from rows of logits; holds the working memory, which it keeps from row to row.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    candidates: Candidates,
}

impl Sampler {
    /// Draws a token from logits `[vocab]` with a uniform number `u` in `[0, 1)`: the first token,
    /// in the order of ids, whose cumulative kept probability exceeds `u`.
    ///
    /// `context` is a [`SamplingContext`] or the banned ids alone. Returns nothing when a logit is
    /// NaN or plus infinity, and when no token is left to draw.
    pub fn sample<'c>(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        context: impl Into<SamplingContext<'c>>,
        u: f64,
    ) -> Option<SampledToken> {
        let full = LogSoftmax::of(logits)?;
        let kept = self.keep(logits, params, context.into())?;
        let place = kept.draw(u);
        let token = *kept.ids.get(place)?;
        Some(SampledToken {
            token,
            logp: full.logp(*logits.get(token as usize)?),
            truncated_logp: kept.norm.logp(*kept.scores.get(place)?),
        })
    }

    /// The distribution that tokens are drawn from, for logits `[vocab]`.
    ///
    /// `context` is a [`SamplingContext`] or the banned ids alone. Returns nothing when a logit is
    /// NaN or plus infinity, and when no token is left to draw.
    pub fn distribution<'c>(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        context: impl Into<SamplingContext<'c>>,
    ) -> Option<Distribution<'_>> {
        LogSoftmax::of(logits)?;
        self.keep(logits, params, context.into())
    }

    /// Applies all filters in their order.
    fn keep(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        context: SamplingContext<'_>,
    ) -> Option<Distribution<'_>> {
        let candidates = &mut self.candidates;
        let scores = &mut candidates.vocabulary;
        scores.clear();
        scores.extend_from_slice(logits);
        let seen = context.prompt.iter().chain(context.completion).copied();
        filters::penalize_repetition(scores, logits, seen, params.repetition_penalty);
        if let Some(allowed_ids) = context.allowed_ids {
            filters::allow_only(scores, allowed_ids);
        }
        filters::ban(scores, context.banned_ids);
        filters::apply_temperature(scores, params.temperature);
        if params.temperature == 0.0 {
            filters::keep_most_likely(candidates);
        } else {
            filters::keep_top_k(candidates, params.top_k);
            filters::keep_top_p(candidates, params.top_p);
            filters::keep_min_p(candidates, params.min_p);
            filters::keep_typical_p(candidates, params.typical_p);
        }
        let norm = candidates.normalize()?;
        Some(Distribution {
            ids: &candidates.ids,
            scores: &candidates.scores,
            probabilities: &candidates.probabilities,
            norm,
        })
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
    fn filters_work_on_what_the_one_before_left() {
        let all = SamplingParams {
            top_k: 0,
            ..Default::default()
        };
        assert_eq!(kept(&all), [0, 1, 2, 3, 4]);
        // Of the three most likely, .42, .16 and .42, two reach 0.8; of all five they do not.
        let top_k = SamplingParams { top_k: 3, ..all };
        assert_eq!(kept(&top_k), [1, 2, 3]);
        let both = SamplingParams {
            top_p: 0.8,
            ..top_k
        };
        assert_eq!(kept(&both), [1, 3]);
        let without = SamplingParams { top_k: 0, ..both };
        assert_eq!(kept(&without), [1, 2, 3]);
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_never_a_banned_token() {
        let greedy = SamplingParams::greedy(1);
        let mut sampler = Sampler::default();
        let drawn = sampler.sample(&LOGITS, &greedy, &[], 0.5).unwrap();
        assert_eq!((drawn.token, drawn.truncated_logp), (1, 0.0));
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
        let context = SamplingContext {
            prompt: &[1, 1, 9],
            completion: &[3, 4],
            ..SamplingContext::default()
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
        assert!((drawn.logp - (1.0 - sum.ln())).abs() < 1e-6);
        let sum: f32 = [2.0f32, 6.0, 4.0].iter().map(|x| x.exp()).sum();
        assert!((drawn.truncated_logp - (2.0 - sum.ln())).abs() < 1e-6);
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
            let s = &s.candidates;
            let floats = [&s.vocabulary, &s.scores, &s.probabilities, &s.scratch];
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
