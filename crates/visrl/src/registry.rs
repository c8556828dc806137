use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use visrl_data::Dataset;
use visrl_grpo::PolicyLoss;
use visrl_reward::{RewardRule, RewardSet};

use crate::error::Error;

type NewLoss = dyn Fn() -> Box<dyn PolicyLoss<f32>> + Send + Sync;

/// Parts of one's own by names, so that a run file can name them: reward rules, data sets, losses.
/// A clone shares them.
///
/// ```
/// use visrl::reward::rule_fn;
/// use visrl::{Registry, RunConfig};
///
/// let run = RunConfig::from_toml(r#"
///     [model]
///     path = "assets/base"
///
///     [data]
///     source = { kind = "custom", name = "mine" }
///
///     [recipe]
///     name = "brief_answers"
///     answer_in_tags = false
///     template = { closed = "{question} {choices}", open = "{question}" }
///     rewards = [{ rule = { type = "custom", name = "brief" } }]
/// "#)?;
/// let brief = rule_fn("brief", |completion, _| Some(f32::from(completion.len() < 20)));
/// let registry = Registry::new().rule("brief", brief);
/// let error = run.trainer(&registry).unwrap_err().to_string();
/// assert_eq!(error, "`source.name`: no data set of the name `mine` is registered; there are: none");
/// # Ok::<(), visrl::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    rules: BTreeMap<String, Arc<dyn RewardRule>>,
    datasets: BTreeMap<String, Arc<dyn Dataset>>,
    losses: BTreeMap<String, Arc<NewLoss>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("rules", &self.rules.keys())
            .field("datasets", &self.datasets.keys())
            .field("losses", &self.losses.keys())
            .finish()
    }
}

impl Registry {
    /// A registry without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry with a reward rule: `rule = { type = "custom", name = "..." }`.
    pub fn rule(mut self, name: impl Into<String>, rule: impl RewardRule + 'static) -> Self {
        self.rules.insert(name.into(), Arc::new(rule));
        self
    }

    /// The registry with a data set: `source = { kind = "custom", name = "..." }`.
    pub fn dataset(mut self, name: impl Into<String>, dataset: impl Dataset + 'static) -> Self {
        self.datasets.insert(name.into(), Arc::new(dataset));
        self
    }

    /// The registry with a policy loss: `loss = "..."` in `[fine_tune]`. Each run takes a clone.
    pub fn loss(
        mut self,
        name: impl Into<String>,
        loss: impl PolicyLoss<f32> + Clone + 'static,
    ) -> Self {
        let new = move || Box::new(loss.clone()) as Box<dyn PolicyLoss<f32>>;
        self.losses.insert(name.into(), Arc::new(new));
        self
    }

    /// Finds the rules that are only names.
    pub(crate) fn resolve_rules(&self, rewards: &mut RewardSet) -> Result<(), Error> {
        let known = || self.rules.keys().cloned().collect();
        Ok(rewards.resolve(|name| self.rules.get(name).cloned(), known)?)
    }

    pub(crate) fn find_dataset(&self, name: &str) -> Result<&Arc<dyn Dataset>, Error> {
        find("data set", name, &self.datasets)
    }

    pub(crate) fn new_loss(&self, name: &str) -> Result<Box<dyn PolicyLoss<f32>>, Error> {
        Ok(find("loss", name, &self.losses)?())
    }
}

fn find<'a, T>(
    kind: &'static str,
    name: &str,
    named: &'a BTreeMap<String, T>,
) -> Result<&'a T, Error> {
    let known = || {
        let names: Vec<_> = named.keys().map(|name| format!("`{name}`")).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    };
    named.get(name).ok_or_else(|| Error::UnknownName {
        kind,
        name: name.to_owned(),
        known: known(),
    })
}
