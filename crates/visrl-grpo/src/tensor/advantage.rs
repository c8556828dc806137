//! Advantages in tensor operations.

use burn::tensor::{DType, Tensor};

use crate::advantage::{Advantage, Bessel, Scale};
use crate::error::{Error, Result};

/// The advantages of groups of completions, `[completions]`, from rewards `[completions, rules]`, the
/// completions of a prompt next to each other; the equations and corner cases are those of
/// [`Advantage`]'s estimators.
///
/// A reward of NaN is one that a rule could not give. `weights`, `[rules]`, are 1 where left out.
/// Rewards are constants: nothing is differentiated.
///
/// # Errors
/// [`Error::Groups`] when the completions do not divide into groups, [`Error::Shape`] when there is
/// not one weight per rule, [`Error::Config`] for an epsilon that is not above zero.
pub fn advantages(
    estimator: &Advantage,
    rewards: Tensor<2>,
    weights: Option<Tensor<1>>,
    group_size: usize,
) -> Result<Tensor<1>> {
    let rewards = rewards.without_autodiff();
    let [completions, rules] = rewards.dims();
    Error::check_config(rules > 0, "rules", 0.0, "one or more")?;
    if group_size == 0 || !completions.is_multiple_of(group_size) {
        return Err(Error::Groups {
            completions,
            group_size,
        });
    }
    let weights = match weights {
        Some(weights) => weights.without_autodiff(),
        None => Tensor::ones([rules], (&rewards.device(), rewards.dtype())),
    };
    Error::check_shape("weights", weights.dims()[0], 1, rules)?;
    if completions == 0 {
        return Ok(rewards.reshape([-1]));
    }
    let epsilon = match estimator {
        Advantage::Paper(e) => e.epsilon,
        Advantage::SumThenNormalize(e) => e.epsilon,
        Advantage::NormalizeThenSum(e) => e.epsilon,
        Advantage::LeaveOneOut(_) | Advantage::MeanOnly(_) => 1.0,
    };
    Error::check_config(epsilon > 0.0, "epsilon", epsilon, "above zero")?;
    let table = Table {
        rewards,
        weights: weights.reshape([1, rules]),
        shape: [completions / group_size, group_size],
    };
    let found = match estimator {
        Advantage::Paper(_) => standardized(table.totals(), Bessel::Exact, epsilon),
        Advantage::SumThenNormalize(e) => match e.scale {
            Scale::Group => standardized(table.totals(), e.bessel, epsilon),
            Scale::None => centred(table.totals()),
            Scale::Batch => {
                let totals = table.totals();
                let batch = Moments::of(totals.clone().reshape([1, completions]), e.bessel);
                let own = Moments::of(totals.clone(), e.bessel);
                or_zero((totals - own.mean) / (batch.std + epsilon))
            }
        },
        Advantage::NormalizeThenSum(e) => {
            let sums = table.normalized_sums(e.bessel, epsilon);
            standardized(sums.reshape([1, completions]), e.bessel, epsilon)
        }
        Advantage::MeanOnly(_) => centred(table.totals()),
        Advantage::LeaveOneOut(_) => {
            let totals = table.totals();
            let moments = Moments::of(totals.clone(), Bessel::Exact);
            let others = (moments.count.clone() - 1.0).clamp_min(1.0);
            or_zero((totals - moments.mean) * (moments.count / others))
        }
    };
    Ok(found.reshape([-1]))
}

/// Rewards `[completions, rules]` with weights `[1, rules]` and the shape `[groups, group size]`.
struct Table {
    rewards: Tensor<2>,
    weights: Tensor<2>,
    shape: [usize; 2],
}

impl Table {
    /// The weighted sums over rules, `[groups, group size]`, NaN where no rule scored.
    fn totals(&self) -> Tensor<2> {
        self.sums(self.rewards.clone())
    }

    /// The weighted sums of one value `[completions, rules]` per reward.
    fn sums(&self, values: Tensor<2>) -> Tensor<2> {
        let unscored = self.rewards.clone().is_nan();
        let parts = or_zero(values * self.weights.clone());
        let count = unscored.bool_not().int().sum_dim(1);
        let sums = parts.sum_dim(1).mask_fill(count.equal_elem(0), f64::NAN);
        sums.reshape(self.shape)
    }

    /// The weighted sums of rewards that are normalized within the group, each rule for itself.
    fn normalized_sums(&self, bessel: Bessel, epsilon: f64) -> Tensor<2> {
        let [completions, rules] = self.rewards.dims();
        let [groups, size] = self.shape;
        // One row per group and rule.
        let by_rule = self.rewards.clone().reshape([groups, size, rules]);
        let by_rule = by_rule.swap_dims(1, 2).reshape([groups * rules, size]);
        let normalized = standardized(by_rule, bessel, epsilon).reshape([groups, rules, size]);
        let normalized = normalized.swap_dims(1, 2).reshape([completions, rules]);
        self.sums(normalized)
    }
}

/// Moments over the last axis of what is not NaN, `[rows, 1]`.
struct Moments {
    count: Tensor<2>,
    /// NaN without values.
    mean: Tensor<2>,
    /// Unbiased standard deviation; NaN with fewer than two values.
    std: Tensor<2>,
}

impl Moments {
    /// Equal values have exactly their common value as mean and exactly 0 as standard deviation.
    fn of(values: Tensor<2>, bessel: Bessel) -> Self {
        let dtype = values.dtype();
        let unscored = values.clone().is_nan();
        let count = unscored.clone().bool_not().float().cast(dtype).sum_dim(1);
        let filled = |value: f64| values.clone().mask_fill(unscored.clone(), value);
        let (high, low) = (
            filled(f64::NEG_INFINITY).max_dim(1),
            filled(f64::INFINITY).min_dim(1),
        );
        let mean = filled(0.0).sum_dim(1) / count.clone();
        let mean = mean.mask_where(high.clone().equal(low), high);
        let squares = or_zero(values - mean.clone()).square().sum_dim(1);
        let factor = count.clone() / (count.clone() - 1.0);
        let factor = match bessel {
            Bessel::Exact => factor,
            Bessel::Single => factor.cast(DType::F32).cast(dtype),
        };
        Self {
            std: (squares / count.clone() * factor).sqrt(),
            count,
            mean,
        }
    }
}

fn standardized(values: Tensor<2>, bessel: Bessel, epsilon: f64) -> Tensor<2> {
    let moments = Moments::of(values.clone(), bessel);
    or_zero((values - moments.mean) / (moments.std + epsilon))
}

fn centred(values: Tensor<2>) -> Tensor<2> {
    let moments = Moments::of(values.clone(), Bessel::Exact);
    or_zero(values - moments.mean)
}

/// 0 where a value is not a number.
fn or_zero(values: Tensor<2>) -> Tensor<2> {
    let unknown = values.clone().is_nan();
    values.mask_fill(unknown, 0.0)
}
