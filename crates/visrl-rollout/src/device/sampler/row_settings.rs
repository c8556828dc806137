//! The settings of rows that are drawn together, on the device.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::sampler::SamplingParams;

/// A draw looks at no more than this many of the likeliest tokens where top-k allows it.
const WIDEST_TOP_K: usize = 1024;

/// The settings of each row. What no row asks for is absent, and costs nothing.
#[derive(Clone, Debug)]
pub struct RowSettings {
    /// Repetition penalties, `[rows, 1]`.
    pub(super) repetition_penalty: Option<Tensor<2>>,
    /// Temperatures, 1 for rows that are greedy, `[rows, 1]`.
    pub(super) temperature: Option<Tensor<2>>,
    /// Top-k.
    pub(super) top_k: Option<TopK>,
    /// What the least likely tokens may sum to before they stay, `[rows, 1]`; below 0 where all do.
    pub(super) dropped_mass: Option<Tensor<2>>,
    /// Shares of the most likely token's probability, 0 where all stay, `[rows, 1]`.
    pub(super) min_p: Option<Tensor<2>>,
    /// What the tokens nearest to the entropy have to sum to, 2 where all stay, `[rows, 1]`.
    pub(super) typical_p: Option<Tensor<2>>,
    /// 0 for rows that are greedy, 1 for others, `[rows, 1]`.
    pub(super) is_drawn: Option<Tensor<2>>,
}

/// Top-k of rows.
#[derive(Clone, Debug)]
pub(super) struct TopK {
    /// The largest k of any row.
    pub(super) largest: usize,
    /// The place of the k-th largest among the largest, `[rows, 1]`.
    pub(super) place: Tensor<2, Int>,
    /// The rows without top-k, `[rows, 1]`; nothing where all have one.
    pub(super) unlimited: Option<Tensor<2, Bool>>,
}

impl TopK {
    /// Whether a draw may look at the likeliest tokens alone.
    pub(super) fn is_narrow(&self) -> bool {
        self.unlimited.is_none() && self.largest <= WIDEST_TOP_K
    }
}

impl RowSettings {
    /// The settings of rows over a vocabulary.
    pub fn new(rows: &[&SamplingParams], vocab_size: usize, device: &Device) -> Self {
        let greedy = |params: &SamplingParams| params.temperature == 0.0;
        // The filters do not touch a greedy row, which takes the first of the most likely tokens.
        let of = |setting: &dyn Fn(&SamplingParams) -> f32, idle: f32| {
            let values: Vec<f32> = rows
                .iter()
                .map(|params| match greedy(params) {
                    true => idle,
                    false => setting(params),
                })
                .collect();
            (values.iter().any(|&value| value != idle)).then(|| column(values, device))
        };
        let penalties: Vec<f32> = rows.iter().map(|p| p.repetition_penalty as f32).collect();
        let penalized = penalties.iter().any(|&penalty| penalty != 1.0);
        let limits = rows.iter().map(|params| match greedy(params) {
            true => 1,
            false if params.top_k > vocab_size => 0,
            false => params.top_k,
        });
        let drawn = rows
            .iter()
            .map(|params| f32::from(u8::from(!greedy(params))));
        Self {
            repetition_penalty: penalized.then(|| column(penalties, device)),
            temperature: of(&|params| params.temperature as f32, 1.0),
            top_k: top_k(limits.collect(), device),
            dropped_mass: of(
                &|params| match params.top_p < 1.0 {
                    true => (1.0 - params.top_p) as f32,
                    false => -1.0,
                },
                -1.0,
            ),
            min_p: of(&|params| params.min_p.clamp(0.0, 1.0) as f32, 0.0),
            typical_p: of(
                &|params| match params.typical_p < 1.0 {
                    true => params.typical_p as f32,
                    false => 2.0,
                },
                2.0,
            ),
            is_drawn: rows
                .iter()
                .any(|params| greedy(params))
                .then(|| column(drawn.collect(), device)),
        }
    }

    /// Whether the tokens that a row has seen count.
    pub fn penalizes(&self) -> bool {
        self.repetition_penalty.is_some()
    }
}

fn top_k(limits: Vec<usize>, device: &Device) -> Option<TopK> {
    let largest = limits
        .iter()
        .copied()
        .max()
        .filter(|&largest| largest > 0)?;
    let rows = limits.len();
    let place: Vec<i64> = limits
        .iter()
        .map(|&k| k as i64 - 1)
        .map(|k| k.max(0))
        .collect();
    let unlimited: Vec<bool> = limits.iter().map(|&k| k == 0).collect();
    Some(TopK {
        largest,
        place: Tensor::from_data(TensorData::new(place, [rows, 1]), device),
        unlimited: unlimited
            .contains(&true)
            .then(|| Tensor::from_data(TensorData::new(unlimited, [rows, 1]), device)),
    })
}

fn column(values: Vec<f32>, device: &Device) -> Tensor<2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), device)
}
