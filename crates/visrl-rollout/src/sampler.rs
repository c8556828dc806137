use serde::{Deserialize, Serialize};

use crate::Error;

/// How tokens are drawn from logits.
///
/// The defaults are the paper's (temperature 1, top-k 50, which was Hugging Face's silent default
/// at the time). They are never taken from a checkpoint's `generation_config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Logits are divided by this before the softmax; 0 takes the most likely token.
    pub temperature: f64,
    /// Keep the k most likely tokens and all that tie with the last of them; 0 keeps all.
    pub top_k: usize,
    /// Keep the most likely tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: f64,
    /// Keep tokens with at least this share of the most likely token's probability; 0 keeps all.
    pub min_p: f64,
    /// The most tokens of a completion, end token included.
    pub max_new_tokens: usize,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 50, top_p: 1.0, min_p: 0.0, max_new_tokens: 1024 }
    }
}

impl SamplingParams {
    /// The most likely token at each position.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self { temperature: 0.0, top_k: 0, max_new_tokens, ..Self::default() }
    }

    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`Error::Params`] names the first that is not.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |field, good: bool, message: String| match good {
            true => Ok(()),
            false => Err(Error::Params { field, message }),
        };
        let (t, p, m) = (self.temperature, self.top_p, self.min_p);
        check("temperature", t >= 0.0 && t.is_finite(), format!("is {t}, expected 0 or more"))?;
        check("top_p", p > 0.0 && p <= 1.0, format!("is {p}, expected more than 0, at most 1"))?;
        check("min_p", (0.0..=1.0).contains(&m), format!("is {m}, expected 0 to 1"))?;
        let positive = self.max_new_tokens > 0;
        check("max_new_tokens", positive, "is 0, expected at least 1".to_owned())
    }
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the full softmax of the logits at temperature 1, in nats.
    pub logprob: f32,
}

/// Draws tokens from rows of logits; holds the working memory.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    scores: Vec<f32>,
    sorted: Vec<f32>,
    order: Vec<u32>,
}

impl Sampler {
    /// Draws a token from logits `[vocab]` with a uniform number `u` in `[0, 1)`: the first token,
    /// in the order of ids, whose cumulative kept probability exceeds `u`.
    ///
    /// Tokens in `banned` are never drawn; they count in the log-probability's softmax, which is
    /// the model's own. Returns nothing when no logit is finite or one is NaN.
    pub fn sample(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        banned: &[u32],
        u: f64,
    ) -> Option<Sampled> {
        let (max, log_sum) = log_sum_exp(logits)?;
        let logprob = |token: usize| logits[token] - max - log_sum;
        self.keep(logits, params, banned);
        let token = match params.temperature == 0.0 {
            true => arg_max(&self.scores)?,
            false => self.draw(u)?,
        };
        Some(Sampled { token: token as u32, logprob: logprob(token) })
    }

    /// The probabilities that tokens are drawn with, `[vocab]`: 0 where filtered out.
    pub fn probabilities(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        banned: &[u32],
    ) -> Vec<f32> {
        self.keep(logits, params, banned);
        let Some((max, log_sum)) = log_sum_exp(&self.scores) else {
            return vec![0.0; logits.len()];
        };
        self.scores.iter().map(|score| (score - max - log_sum).exp()).collect()
    }

    /// Fills `scores` with the tempered logits, minus infinity where a token is filtered out.
    fn keep(&mut self, logits: &[f32], params: &SamplingParams, banned: &[u32]) {
        self.scores.clear();
        if params.temperature > 0.0 && params.temperature != 1.0 {
            let temperature = params.temperature as f32;
            self.scores.extend(logits.iter().map(|logit| logit / temperature));
        } else {
            self.scores.extend_from_slice(logits);
        }
        for &id in banned {
            if let Some(score) = self.scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        if params.temperature == 0.0 {
            return;
        }
        if params.top_k > 0 && params.top_k < self.scores.len() {
            self.sorted.clear();
            self.sorted.extend_from_slice(&self.scores);
            let (_, &mut kth, _) =
                self.sorted.select_nth_unstable_by(params.top_k - 1, |a, b| b.total_cmp(a));
            self.filter(|score| score >= kth);
        }
        if params.top_p < 1.0 {
            self.keep_nucleus(params.top_p);
        }
        if params.min_p > 0.0 {
            let max = self.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let least = max + (params.min_p as f32).ln();
            self.filter(|score| score >= least);
        }
    }

    fn filter(&mut self, keep: impl Fn(f32) -> bool) {
        for score in &mut self.scores {
            if !keep(*score) {
                *score = f32::NEG_INFINITY;
            }
        }
    }

    /// Drops the least likely tokens as long as they sum to at most `1 - top_p`; the most likely
    /// token always stays.
    fn keep_nucleus(&mut self, top_p: f64) {
        let Some((max, log_sum)) = log_sum_exp(&self.scores) else { return };
        let scores = &self.scores;
        self.order.clear();
        let kept = scores.iter().enumerate().filter(|(_, score)| **score > f32::NEG_INFINITY);
        self.order.extend(kept.map(|(id, _)| id as u32));
        self.order.sort_by(|&a, &b| scores[a as usize].total_cmp(&scores[b as usize]));
        let mut sum = 0.0;
        for &id in &self.order[..self.order.len().saturating_sub(1)] {
            sum += f64::from((self.scores[id as usize] - max - log_sum).exp());
            if sum > 1.0 - top_p {
                break;
            }
            self.scores[id as usize] = f32::NEG_INFINITY;
        }
    }

    fn draw(&self, u: f64) -> Option<usize> {
        let max = self.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |score: f32| f64::from((score - max).exp());
        let total: f64 = self.scores.iter().map(|&score| weight(score)).sum();
        let target = u * total;
        let mut sum = 0.0;
        let mut last = None;
        for (id, &score) in self.scores.iter().enumerate() {
            if score == f32::NEG_INFINITY {
                continue;
            }
            sum += weight(score);
            last = Some(id);
            if sum > target {
                break;
            }
        }
        last
    }
}

/// The largest value and the logarithm of the sum of exponentials relative to it; nothing when a
/// value is NaN or plus infinity, or all are minus infinity.
fn log_sum_exp(values: &[f32]) -> Option<(f32, f32)> {
    let mut max = f32::NEG_INFINITY;
    for &value in values {
        if value.is_nan() {
            return None;
        }
        max = max.max(value);
    }
    if !max.is_finite() {
        return None;
    }
    let sum: f64 = values.iter().map(|value| f64::from((value - max).exp())).sum();
    Some((max, sum.ln() as f32))
}

/// The first of the largest values.
fn arg_max(values: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, value) in values.iter().enumerate() {
        if best.is_none_or(|best| *value > values[best]) {
            best = Some(index);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn kept(params: &SamplingParams) -> Vec<usize> {
        let probabilities = Sampler::default().probabilities(&LOGITS, params, &[]);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        (0..5).filter(|&id| probabilities[id] > 0.0).collect()
    }

    #[test]
    fn filters_keep_what_they_say() {
        let all = SamplingParams { top_k: 0, ..Default::default() };
        assert_eq!(kept(&all), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&SamplingParams { top_k: 1, ..all.clone() }), [1, 3], "ties stay");
        assert_eq!(kept(&SamplingParams { top_k: 3, ..all.clone() }), [1, 2, 3]);
        assert_eq!(kept(&SamplingParams { top_p: 0.8, ..all.clone() }), [1, 3]);
        assert_eq!(kept(&SamplingParams { min_p: 0.3, ..all }), [1, 2, 3]);
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_never_a_banned_token() {
        let greedy = SamplingParams::greedy(1);
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(&LOGITS, &greedy, &[], 0.5).unwrap().token, 1);
        assert_eq!(sampler.sample(&LOGITS, &greedy, &[1], 0.5).unwrap().token, 3);
    }

    #[test]
    fn log_probability_is_the_full_softmax_s() {
        let params = SamplingParams { temperature: 0.5, top_k: 2, ..Default::default() };
        let drawn = Sampler::default().sample(&LOGITS, &params, &[], 0.0).unwrap();
        let sum: f32 = LOGITS.iter().map(|x| x.exp()).sum();
        assert!((drawn.logprob - (3.0 - sum.ln())).abs() < 1e-6);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let params = SamplingParams { top_k: 0, ..Default::default() };
        let mut sampler = Sampler::default();
        let expected = sampler.probabilities(&LOGITS, &params, &[]);
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
        assert_eq!(sampler.sample(&[f32::INFINITY, 0.0], &params, &[], 0.5), None);
        assert!(SamplingParams { top_p: 0.0, ..params }.validate().is_err());
    }
}
