//! What every [`RolloutEngine`] has to keep, as checks that any implementation can be run through.
//!
//! Call [`check`] in a test with requests that the engine can meet; it returns all that it found
//! wrong.
//!
//! ```
//! use std::sync::Arc;
//! use burn::tensor::Device;
//! use visrl_core::{Completion, Domain, Group, ImageSource, Prompt, SeedStream, StopReason};
//! use visrl_rollout::conformance::{Expected, check};
//! use visrl_rollout::{Error, GroupRequest, RolloutEngine};
//! use visrl_vlm::{Pretrained, QwenVl, Tokenizer, VisionLanguageModel};
//!
//! /// An engine that answers "cat" to everything.
//! struct Cat(Arc<Tokenizer>);
//!
//! impl RolloutEngine for Cat {
//!     fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
//!         let answer = |request: &GroupRequest| {
//!             request.validate()?;
//!             let mut tokens = self.0.encode("cat")?;
//!             tokens.push(self.0.eos_id());
//!             let completion = Completion {
//!                 logprobs: vec![0.0; tokens.len()],
//!                 tokens,
//!                 text: "cat".into(),
//!                 stop: StopReason::Eos,
//!             };
//!             Ok(Group {
//!                 prompt: Arc::clone(&request.prompt),
//!                 completions: vec![completion; request.num_generations],
//!             })
//!         };
//!         requests.iter().map(answer).collect()
//!     }
//! }
//!
//! let base = Pretrained::<QwenVl>::load("../../assets/base", &Device::flex())?;
//! let pixels = vec![128; 28 * 28].into();
//! let image = ImageSource::Gray { name: "gray".into(), width: 28, height: 28, pixels };
//! let prompt = Arc::new(Prompt::user("gray", image, "What is this?"));
//! let inputs = base.encoder.encode_all(&base.model, &[Arc::clone(&prompt)])?;
//! let stream = SeedStream::new(1, Domain::Sampling);
//! let mut request = GroupRequest::new(prompt, Arc::clone(&inputs[0]), stream);
//! request.num_generations = 4;
//!
//! let mut engine = Cat(Arc::clone(base.encoder.tokenizer()));
//! let expected = Expected { batch_invariant: true, ..Expected::of(base.model.info()) };
//! let faults = check(&mut engine, &[request], &expected);
//! assert!(faults.is_empty(), "{faults:#?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use visrl_core::{Completion, Group, StopReason};
use visrl_vlm::ModelInfo;

use crate::engine::RolloutEngine;
use crate::error::Error;
use crate::request::{Cancel, GroupRequest};

/// What is known of the model behind an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The tokens that end a completion.
    pub eos_token_ids: Vec<u32>,
    /// Ids that never appear.
    pub banned_ids: Vec<u32>,
    /// Whether results are batch-invariant: a group is the same, token by token, whatever the groups
    /// beside it. Set it for engines that promise so to the last bit; rounding breaks it in others
    /// now and then.
    pub batch_invariant: bool,
}

impl Expected {
    /// What a model's [`ModelInfo`] says.
    pub fn of(info: &ModelInfo) -> Self {
        Self {
            eos_token_ids: info.eos_token_ids.clone(),
            banned_ids: info.banned_ids.clone(),
            batch_invariant: false,
        }
    }
}

/// Runs an engine through all checks with these requests, which it should be able to meet, and
/// returns what it does wrong, in words.
pub fn check(
    engine: &mut dyn RolloutEngine,
    requests: &[GroupRequest],
    expected: &Expected,
) -> Vec<String> {
    let mut faults = Vec::new();
    let groups = engine.generate_each(requests);
    shape(requests, &groups, expected, &mut faults);
    if !engine.generate_each(&[]).is_empty() {
        faults.push("no requests give groups".into());
    }
    repeated(engine, requests, &groups, expected, &mut faults);
    one_bad_request(engine, requests, &mut faults);
    cancelled(engine, requests, &mut faults);
    faults
}

fn shape(
    requests: &[GroupRequest],
    groups: &[Result<Group, Error>],
    expected: &Expected,
    faults: &mut Vec<String>,
) {
    if groups.len() != requests.len() {
        faults.push(format!(
            "{} results for {} requests",
            groups.len(),
            requests.len()
        ));
    }
    for (index, (request, group)) in requests.iter().zip(groups).enumerate() {
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                faults.push(format!("request {index} fails: {error}"));
                continue;
            }
        };
        if !Arc::ptr_eq(&group.prompt, &request.prompt) {
            faults.push(format!("group {index} does not own its request's prompt"));
        }
        if group.completions.len() != request.num_generations {
            let (found, asked) = (group.completions.len(), request.num_generations);
            faults.push(format!(
                "group {index} has {found} completions, {asked} asked for"
            ));
        }
        for (sample, completion) in group.completions.iter().enumerate() {
            let mut say = |message: &str| {
                faults.push(format!("group {index}, completion {sample}: {message}"));
            };
            tokens(request, completion, expected, &mut say);
        }
    }
}

fn tokens(
    request: &GroupRequest,
    completion: &Completion,
    expected: &Expected,
    say: &mut dyn FnMut(&str),
) {
    let ids = &completion.tokens;
    let most = request.sampling.max_new_tokens;
    if ids.is_empty() || ids.len() > most {
        say(&format!("{} tokens, 1 to {most} allowed", ids.len()));
    }
    if completion.logprobs.len() != ids.len() {
        say(&format!(
            "{} log-probabilities for {} tokens",
            completion.logprobs.len(),
            ids.len()
        ));
    }
    if completion.logprobs.iter().any(|x| x.is_nan() || *x > 0.0) {
        say("a log-probability is above 0 or not a number");
    }
    if let Some(id) = ids.iter().find(|id| expected.banned_ids.contains(id)) {
        say(&format!("holds {id}, which is never sampled"));
    }
    let ends = |id: &u32| expected.eos_token_ids.contains(id);
    let early = ids.iter().rev().skip(1).any(ends);
    let last = ids.last().is_some_and(ends);
    let stop = match &completion.stop {
        StopReason::Eos => last && !early,
        StopReason::MaxTokens => ids.len() == most && !last && !early,
        StopReason::StopString(stop) => {
            let known = request.sampling.stop_strings.contains(stop);
            known && completion.text.contains(stop) && !last && !early
        }
        StopReason::Cancelled => request.cancel.is_cancelled(),
    };
    if !stop {
        say(&format!(
            "its tokens do not agree with {:?}",
            completion.stop
        ));
    }
    if let Some(choices) = &request.choices {
        let free = (0..ids.len()).find(|&at| {
            !choices
                .after(&ids[..at], &expected.eos_token_ids)
                .contains(&ids[at])
        });
        if let Some(at) = free {
            say(&format!(
                "token {at} leads to none of the request's choices"
            ));
        }
    }
}

/// The same requests again, in another order and one by one.
fn repeated(
    engine: &mut dyn RolloutEngine,
    requests: &[GroupRequest],
    groups: &[Result<Group, Error>],
    expected: &Expected,
    faults: &mut Vec<String>,
) {
    let again = engine.generate_each(requests);
    let mut compare = |how: &str, index: usize, other: &Result<Group, Error>| {
        if let (Some(Ok(group)), Ok(other)) = (groups.get(index), other)
            && group
                .completions
                .iter()
                .map(|c| &c.tokens)
                .ne(other.completions.iter().map(|c| &c.tokens))
        {
            faults.push(format!("group {index} has other tokens {how}"));
        }
    };
    for (index, group) in again.iter().enumerate() {
        compare("when the same requests come again", index, group);
    }
    if !expected.batch_invariant {
        return;
    }
    let reversed: Vec<GroupRequest> = requests.iter().rev().cloned().collect();
    for (index, group) in engine.generate_each(&reversed).iter().rev().enumerate() {
        compare("in reverse order", index, group);
    }
    for (index, request) in requests.iter().enumerate() {
        for group in engine.generate_each(std::slice::from_ref(request)) {
            compare("alone", index, &group);
        }
    }
}

/// A request that cannot be met among others.
fn one_bad_request(
    engine: &mut dyn RolloutEngine,
    requests: &[GroupRequest],
    faults: &mut Vec<String>,
) {
    let Some(first) = requests.first() else {
        return;
    };
    let mut bad = first.clone();
    bad.sampling.max_new_tokens = 0;
    let mut mixed = requests.to_vec();
    mixed.insert(requests.len() / 2, bad);
    for (index, group) in engine.generate_each(&mixed).iter().enumerate() {
        match (group, index == requests.len() / 2) {
            (Ok(_), true) => faults.push("a request for completions of 0 tokens is met".into()),
            (Err(error), false) => {
                faults.push(format!(
                    "a bad request keeps request {index} from its group: {error}"
                ));
            }
            _ => {}
        }
    }
}

/// A request that is cancelled before it begins.
fn cancelled(engine: &mut dyn RolloutEngine, requests: &[GroupRequest], faults: &mut Vec<String>) {
    let Some(first) = requests.first() else {
        return;
    };
    let mut request = first.clone();
    request.cancel = Cancel::default();
    request.cancel.cancel();
    let ended = |completion: &Completion| {
        // An engine may finish what it has begun.
        completion.stop == StopReason::Cancelled || !completion.tokens.is_empty()
    };
    match engine.generate_each(&[request]).pop() {
        Some(Ok(group)) if group.completions.iter().all(ended) => {}
        other => faults.push(format!("a cancelled request gives {other:?}")),
    }
}
