//! Which groups are decoded together: continuous batching.

use std::collections::VecDeque;
use std::sync::Arc;

use visrl_core::{Completion, Group};

use crate::error::Error;
use crate::request::GroupRequest;
use crate::running_group::{RunningGroup, empty_completions};

/// How much runs at a time; 0 sets no limit.
///
/// A group is never split: one that is larger than a limit runs alone, but for
/// [`max_cached_tokens`](Self::max_cached_tokens), by which it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// The most sequences that are decoded together.
    pub max_sequences: usize,
    /// The most prompt tokens that are encoded together.
    pub max_prefill_tokens: usize,
    /// The most tokens of all groups that run: each prompt once and every completion at its
    /// longest.
    pub max_cached_tokens: usize,
}

impl SchedulerLimits {
    fn check(&self, request: &GroupRequest) -> Result<(), Error> {
        let (needed, most) = (request.most_tokens(), self.max_cached_tokens);
        if !over(needed, most) {
            return Ok(());
        }
        Err(request.fault(format!(
            "needs room for {needed} tokens, prompt and completions together, and \
             `max_cached_tokens` is {most}"
        )))
    }
}

fn over(sum: usize, limit: usize) -> bool {
    limit > 0 && sum > limit
}

/// A request that may enter now.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'r> {
    /// The request.
    pub request: &'r GroupRequest,
    /// Its place among all requests.
    number: usize,
}

/// Holds all requests of one call, each of which waits, runs or is finished.
///
/// It knows neither a model nor a cache. `C` is whatever an engine keeps for a group that runs, and
/// an engine is a loop of three lines around it: schedule, decode, collect.
///
/// ```
/// use visrl_rollout::{CompletionText, Error, GroupRequest, SampledToken, Scheduler};
/// use visrl_rollout::{SchedulerLimits, StopRules};
///
/// /// An engine that writes this token and nothing else.
/// fn run(
///     requests: &[GroupRequest],
///     token: u32,
///     stop: StopRules<'_>,
/// ) -> Vec<Result<visrl_core::Group, Error>> {
///     let limits = SchedulerLimits { max_sequences: 64, ..SchedulerLimits::default() };
///     let mut scheduler = Scheduler::new(requests, limits, GroupRequest::validate);
///     while !scheduler.is_done() {
///         // Schedule: there is no prompt to encode.
///         let admitted = scheduler.schedule();
///         scheduler.start(admitted.into_iter().map(|one| (one, Ok(()))));
///         // Decode one token of every row.
///         for group in scheduler.running_mut() {
///             for row in 0..group.rows().len() {
///                 let drawn = SampledToken { token, logp: 0.0, truncated_logp: 0.0 };
///                 group.push(row, drawn, &stop);
///             }
///             group.drop_ended_rows();
///         }
///         scheduler.collect();
///     }
///     let text = CompletionText::new(stop.tokenizer, stop.eos_token_ids);
///     scheduler.into_groups(|tokens| text.text(tokens))
/// }
/// ```
#[derive(Debug)]
pub struct Scheduler<'r, C> {
    limits: SchedulerLimits,
    requests: &'r [GroupRequest],
    /// Places of the requests that have not begun, in the order in which they enter.
    waiting: VecDeque<usize>,
    running: Vec<RunningGroup<'r, C>>,
    /// By request.
    finished: Vec<Option<Result<Vec<Completion>, Error>>>,
}

impl<'r, C> Scheduler<'r, C> {
    /// All requests wait but for those that `check` or the limits refuse.
    ///
    /// Shorter prompts enter first, and of these smaller groups, so that equal ones come together.
    pub fn new(
        requests: &'r [GroupRequest],
        limits: SchedulerLimits,
        check: impl Fn(&GroupRequest) -> Result<(), Error>,
    ) -> Self {
        let check = |request| check(request).and_then(|()| limits.check(request));
        let finished: Vec<_> = requests
            .iter()
            .map(|request| check(request).err().map(Err))
            .collect();
        let mut waiting: Vec<usize> = (0..requests.len())
            .filter(|&number| finished[number].is_none())
            .collect();
        waiting.sort_by_key(|&number| {
            let request = &requests[number];
            (request.input.ids.len(), request.num_generations)
        });
        Self {
            limits,
            requests,
            waiting: waiting.into(),
            running: Vec::new(),
            finished,
        }
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Takes the requests for which there is room from those that wait. Give each to
    /// [`start`](Self::start) once its prompt is encoded.
    pub fn schedule(&mut self) -> Vec<Admitted<'r>> {
        let mut admitted = Vec::new();
        if self.waiting.is_empty() {
            return admitted;
        }
        let running = || self.running.iter();
        let mut sequences: usize = running().map(|group| group.rows().len()).sum();
        let mut cached = running()
            .map(|group| group.request().most_tokens())
            .fold(0, usize::saturating_add);
        let mut prefilled = 0;
        while let Some(&number) = self.waiting.front() {
            let request = &self.requests[number];
            let (group_size, tokens) = (request.num_generations, request.most_tokens());
            let prompt = request.input.ids.len();
            let cached_with = usize::saturating_add(cached, tokens);
            let full = over(sequences + group_size, self.limits.max_sequences)
                || over(cached_with, self.limits.max_cached_tokens)
                || over(prefilled + prompt, self.limits.max_prefill_tokens);
            let alone = self.running.is_empty() && admitted.is_empty();
            if full && !alone {
                break;
            }
            self.waiting.pop_front();
            if request.cancel.is_cancelled() {
                self.finished[number] = Some(Ok(empty_completions(request)));
                continue;
            }
            admitted.push(Admitted { request, number });
            sequences += group_size;
            cached = cached_with;
            prefilled += prompt;
        }
        admitted
    }

    /// Lets groups run, each with what the engine keeps for it, or ends them with what stood in
    /// the way.
    pub fn start(&mut self, groups: impl IntoIterator<Item = (Admitted<'r>, Result<C, Error>)>) {
        for (Admitted { request, number }, cache) in groups {
            match cache {
                Ok(cache) => self.running.push(RunningGroup::new(number, request, cache)),
                Err(error) => self.finished[number] = Some(Err(error)),
            }
        }
    }

    /// The groups that run, in the order in which they entered.
    pub fn running_mut(&mut self) -> &mut [RunningGroup<'r, C>] {
        &mut self.running
    }

    /// Takes the groups out that have ended, failed or been cancelled.
    pub fn collect(&mut self) {
        for group in self.running.extract_if(.., |group| group.is_finished()) {
            let number = group.number;
            self.finished[number] = Some(group.finish());
        }
    }

    /// A group or what went wrong for each request, in their order. `text` decodes tokens.
    ///
    /// What has not finished counts as cancelled.
    pub fn into_groups(self, text: impl Fn(&[u32]) -> String) -> Vec<Result<Group, Error>> {
        let mut finished = self.finished;
        for group in self.running {
            let number = group.number;
            finished[number] = Some(group.finish());
        }
        let groups = self.requests.iter().zip(finished);
        let groups = groups.map(|(request, completions)| {
            let mut completions = completions.unwrap_or_else(|| Ok(empty_completions(request)))?;
            for completion in &mut completions {
                completion.text = text(&completion.tokens);
            }
            Ok(Group {
                prompt: Arc::clone(&request.prompt),
                completions,
            })
        });
        groups.collect()
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::StopReason;
    use visrl_vlm::Tokenizer;

    use super::*;
    use crate::request::request_of;
    use crate::sampler::SampledToken;
    use crate::stop::StopRules;

    const EOS: u32 = 7;

    /// What ran together in each step: prompt tokens and rows of each group.
    type Steps = Vec<Vec<(usize, usize)>>;

    /// Completions of sample `s` end after `s + 1` tokens.
    fn run(
        requests: &[GroupRequest],
        limits: SchedulerLimits,
    ) -> (Vec<Result<Group, Error>>, Steps) {
        let tokenizer = Tokenizer::from_dir("../../assets/base".as_ref()).unwrap();
        let stop = StopRules {
            eos_token_ids: &[EOS],
            tokenizer: &tokenizer,
        };
        let mut steps = Vec::new();
        let mut scheduler = Scheduler::new(requests, limits, GroupRequest::validate);
        while !scheduler.is_done() {
            let admitted = scheduler.schedule();
            scheduler.start(admitted.into_iter().map(|one| (one, Ok(()))));
            let groups = scheduler.running_mut().iter();
            let groups = groups.map(|group| (group.request().input.ids.len(), group.rows().len()));
            steps.push(groups.collect());
            for group in scheduler.running_mut() {
                for row in 0..group.rows().len() {
                    let token = match group.rows()[row] == group.tokens(row).len() {
                        true => EOS,
                        false => 20,
                    };
                    let drawn = SampledToken {
                        token,
                        logp: 0.0,
                        truncated_logp: 0.0,
                    };
                    group.push(row, drawn, &stop);
                }
                group.drop_ended_rows();
            }
            scheduler.collect();
        }
        let groups = scheduler.into_groups(|tokens| format!("{} tokens", tokens.len()));
        (groups, steps)
    }

    fn requests(shapes: &[(usize, usize)]) -> Vec<GroupRequest> {
        let request = |&(prompt, group_size): &(usize, usize)| request_of(prompt, group_size, 10);
        shapes.iter().map(request).collect()
    }

    #[test]
    fn groups_enter_by_length_as_rows_leave() {
        let requests = requests(&[(9, 2), (5, 3), (7, 2), (5, 2)]);
        let limits = SchedulerLimits {
            max_sequences: 5,
            ..SchedulerLimits::default()
        };
        let (groups, steps) = run(&requests, limits);
        let expected: [&[(usize, usize)]; 4] = [
            &[(5, 2), (5, 3)],
            &[(5, 1), (5, 2), (7, 2)],
            &[(5, 1), (7, 1), (9, 2)],
            &[(9, 1)],
        ];
        assert_eq!(steps, expected);
        for (request, group) in requests.iter().zip(groups) {
            let group = group.unwrap();
            assert!(Arc::ptr_eq(&group.prompt, &request.prompt));
            assert_eq!(group.len(), request.num_generations);
            for (sample, completion) in group.completions.iter().enumerate() {
                assert_eq!(completion.stop, StopReason::Eos);
                assert_eq!(completion.text, format!("{} tokens", sample + 1));
            }
        }
    }

    #[test]
    fn every_limit_holds_back_and_what_is_larger_runs_alone() {
        let requests = requests(&[(5, 1), (5, 1), (6, 1)]);
        let all = SchedulerLimits::default();
        let at = |limits| run(&requests, limits).1;
        assert_eq!(at(all), [[(5, 1), (5, 1), (6, 1)]]);
        let two: [&[(usize, usize)]; 2] = [&[(5, 1), (5, 1)], &[(6, 1)]];
        let limits = SchedulerLimits {
            max_prefill_tokens: 10,
            ..all
        };
        assert_eq!(at(limits), two);
        let limits = SchedulerLimits {
            max_cached_tokens: 30,
            ..all
        };
        assert_eq!(at(limits), two);
        let limits = SchedulerLimits {
            max_sequences: 2,
            ..all
        };
        assert_eq!(at(limits), two);
        let limits = SchedulerLimits {
            max_prefill_tokens: 1,
            ..all
        };
        assert_eq!(at(limits), [[(5, 1)], [(5, 1)], [(6, 1)]]);
    }

    #[test]
    fn faults_stay_with_their_request() {
        let mut requests = requests(&[(5, 1), (90, 1), (6, 0), (7, 1), (8, 1)]);
        requests[3].cancel.cancel();
        requests[4].sampling.max_new_tokens = usize::MAX;
        let limits = SchedulerLimits {
            max_cached_tokens: 50,
            ..SchedulerLimits::default()
        };
        let (groups, _) = run(&requests, limits);
        assert!(groups[0].is_ok());
        for (number, message) in [
            (1, "prompt 90 tokens: needs room for 100 tokens"),
            (2, "prompt 6 tokens: asks for 0 completions"),
            (
                4,
                "prompt 8 tokens: needs room for 18446744073709551615 tokens",
            ),
        ] {
            let error = groups[number].as_ref().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let cancelled = groups[3].as_ref().unwrap();
        assert_eq!(cancelled.completions[0].stop, StopReason::Cancelled);

        let mut scheduler = Scheduler::new(&requests[..1], limits, GroupRequest::validate);
        let admitted = scheduler.schedule();
        let lost = || Err::<(), _>(Error::Device("lost".into()));
        scheduler.start(admitted.into_iter().map(|one| (one, lost())));
        assert!(scheduler.is_done());
        let groups = scheduler.into_groups(|_| String::new());
        assert!(matches!(groups[0], Err(Error::Device(_))));
    }

    #[test]
    fn what_has_not_finished_counts_as_cancelled() {
        let requests = requests(&[(5, 1), (6, 2)]);
        let limits = SchedulerLimits {
            max_sequences: 1,
            ..SchedulerLimits::default()
        };
        let mut scheduler = Scheduler::new(&requests, limits, GroupRequest::validate);
        let admitted = scheduler.schedule();
        scheduler.start(admitted.into_iter().map(|one| (one, Ok(()))));
        assert_eq!(scheduler.running_mut().len(), 1);
        for (request, group) in requests
            .iter()
            .zip(scheduler.into_groups(|_| String::new()))
        {
            let completions = group.unwrap().completions;
            assert_eq!(completions.len(), request.num_generations);
            assert!(completions.iter().all(|c| c.stop == StopReason::Cancelled));
        }
    }
}
