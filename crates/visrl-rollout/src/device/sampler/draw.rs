//! From logits to tokens.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::filters::{self, count};
use super::penalties;
use super::row_settings::RowSettings;
use super::softmax::Softmax;
use super::window::Window;
use crate::error::Error;
use crate::sampler::SampledToken;

/// Draws tokens of many rows on the device that their logits are on: those that a
/// [`Sampler`](crate::Sampler) draws of the same logits with the same numbers.
#[derive(Clone, Debug)]
pub struct DeviceSampler {
    vocab_size: usize,
    bans: Option<Tensor<2>>,
    /// The widest format of floats that the device has.
    wide: DType,
    device: Device,
}

/// What rows are drawn by beside logits and settings.
#[derive(Clone, Debug)]
pub struct DrawInput<'a> {
    /// A number in `[0, 1)` for each row.
    pub uniform: &'a [f64],
    /// How often each row has seen each id, from [`DeviceSampler::count`], where its settings ask
    /// for it.
    pub seen: Option<&'a Tensor<2>>,
    /// The only ids that each row may choose from; nothing allows all.
    pub allowed: &'a [Option<Vec<u32>>],
}

/// A token of each row, still on the device.
struct Drawn {
    /// Ids, which f32 holds exactly up to 2^24, both log-probabilities and, where a window was looked
    /// at, whether it may lack tokens, `[rows, 3 or 4]`.
    values: Tensor<2>,
}

impl DeviceSampler {
    /// For logits of `vocab_size` ids, of which the banned ones are never drawn.
    pub fn new(vocab_size: usize, banned_ids: &[u32], device: &Device) -> Self {
        let wide = match device.supports_dtype(DType::F64) {
            true => DType::F64,
            false => DType::F32,
        };
        Self {
            vocab_size,
            bans: penalties::bans(banned_ids, vocab_size, device),
            wide,
            device: device.clone(),
        }
    }

    /// How often each row has seen each id, `[rows, vocab]`, for the repetition penalty.
    pub fn count(&self, rows: &[Vec<u32>]) -> Tensor<2> {
        penalties::count(rows, self.vocab_size, &self.device)
    }

    /// Draws a token of each row of logits `[rows, vocab]`, of less than 2^24 ids; nothing for rows whose logits hold NaN
    /// or plus infinity and for those that have no token left.
    ///
    /// # Errors
    /// [`Error::Device`] when the tokens cannot be read.
    pub fn sample(
        &self,
        logits: Tensor<2>,
        settings: &RowSettings,
        input: &DrawInput<'_>,
    ) -> Result<Vec<Option<SampledToken>>, Error> {
        let logits = logits.cast(DType::F32);
        let narrow = settings.top_k.as_ref().filter(|top_k| top_k.is_narrow());
        let scores = self.scores(logits.clone(), settings, input);
        let Some(top_k) = narrow else {
            let window = Window::whole(scores, settings.top_k.as_ref());
            return self.draw(logits, window, settings, input).read();
        };
        let window = Window::likeliest(scores.clone(), top_k);
        let drawn = self.draw(logits.clone(), window, settings, input);
        let (tokens, short) = drawn.read_with_shortage()?;
        if !short {
            return Ok(tokens);
        }
        let window = Window::whole(scores, Some(top_k));
        self.draw(logits, window, settings, input).read()
    }

    /// Logits after repetition penalty, guided choice, bans and temperature.
    fn scores(
        &self,
        mut scores: Tensor<2>,
        settings: &RowSettings,
        input: &DrawInput<'_>,
    ) -> Tensor<2> {
        if let (Some(penalty), Some(seen)) = (&settings.repetition_penalty, input.seen) {
            scores = penalties::penalize_repetition(scores, seen.clone(), penalty.clone());
        }
        if input.allowed.iter().any(Option::is_some) {
            let forbidden = penalties::forbidden(input.allowed, self.vocab_size, &self.device);
            scores = scores.mask_fill(forbidden, f32::NEG_INFINITY);
        }
        if let Some(bans) = &self.bans {
            scores = scores + bans.clone();
        }
        match &settings.temperature {
            Some(temperature) => scores / temperature.clone(),
            None => scores,
        }
    }

    /// Applies the filters and draws.
    fn draw(
        &self,
        logits: Tensor<2>,
        window: Window,
        settings: &RowSettings,
        input: &DrawInput<'_>,
    ) -> Drawn {
        let wide = self.wide;
        let mut scores = window.scores.clone();
        if let Some(kth) = &window.kth {
            scores = filters::keep_top_k(scores, kth.clone());
        }
        if let Some(mass) = &settings.dropped_mass {
            scores = filters::keep_top_p(scores, mass.clone(), wide);
        }
        if let Some(share) = &settings.min_p {
            scores = filters::keep_min_p(scores, share.clone(), wide);
        }
        if let Some(mass) = &settings.typical_p {
            scores = filters::keep_typical_p(scores, mass.clone(), wide);
        }
        let softmax = Softmax::of(&scores, wide);
        let sums = softmax.probabilities(scores.clone()).cast(wide).cumsum(1);
        let [rows, columns] = sums.dims();
        let total = sums.clone().narrow(1, columns - 1, 1);
        let uniform = TensorData::new(input.uniform.to_vec(), [rows, 1]).convert_dtype(wide);
        let mut target = Tensor::from_data(uniform, (&self.device, wide)) * total.clone();
        if let Some(is_drawn) = &settings.is_drawn {
            // The first of the most likely tokens.
            target = target * is_drawn.clone().cast(wide);
        }
        // The first whose sum exceeds the target; where rounding leaves none, the last that adds.
        let place = count(sums.clone().lower_equal(target)).min_pair(count(sums.lower(total)));
        let ids = window.ids(place.clone());
        let logp = Softmax::of(&logits, DType::F32).logps(logits.gather(1, ids.clone()));
        let mut truncated_logp = softmax.logps(scores.gather(1, place));
        if let Some(is_drawn) = &settings.is_drawn {
            truncated_logp = truncated_logp * is_drawn.clone();
        }
        let mut values = vec![ids.float().cast(DType::F32), logp, truncated_logp];
        values.extend(window.is_short);
        Drawn {
            values: Tensor::cat(values, 1),
        }
    }
}

impl Drawn {
    /// The tokens.
    fn read(self) -> Result<Vec<Option<SampledToken>>, Error> {
        Ok(self.read_with_shortage()?.0)
    }

    /// The tokens, and whether any row's window may lack tokens.
    fn read_with_shortage(self) -> Result<(Vec<Option<SampledToken>>, bool), Error> {
        let [_, columns] = self.values.dims();
        let values: Vec<f32> = self
            .values
            .try_into_vec_as()
            .map_err(|error| Error::Device(error.to_string()))?;
        let rows = values.chunks_exact(columns);
        let short = rows
            .clone()
            .any(|row| row.get(3).is_some_and(|&flag| flag != 0.0));
        let tokens = rows.map(|row| {
            let (logp, truncated_logp) = (row[1], row[2]);
            // What is not finite comes of logits that are not numbers, or of no token at all.
            (logp.is_finite() && truncated_logp.is_finite()).then(|| SampledToken {
                token: row[0] as u32,
                logp,
                truncated_logp,
            })
        });
        Ok((tokens.collect(), short))
    }
}
