//! An engine on a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use visrl_core::Group;

use crate::engine::{PolicySync, RolloutEngine};
use crate::error::Error;
use crate::request::{Cancel, GroupRequest};

/// What the thread is told, in the order in which it is done.
enum Task<M> {
    Policy(M),
    Sample(Vec<GroupRequest>),
}

/// What the thread gives.
struct Done {
    groups: Result<Vec<Group>, Error>,
    /// Seconds that were worked on it, and seconds that the thread had nothing to do before.
    worked: f64,
    waited: f64,
}

/// A batch of groups that was sampled on another thread.
#[derive(Debug)]
pub struct SampledBatch {
    /// The groups, one for each request.
    pub groups: Vec<Group>,
    /// Seconds that the engine worked on them, the handing over of their policy included.
    pub worked: f64,
    /// Seconds that the engine had nothing to do before it began.
    pub waited: f64,
}

/// An engine on a thread of its own: it samples while its owner does something else.
///
/// Policies and batches are taken in the order in which they come, so that a batch is sampled from
/// the policy that was handed over last before it was asked for, whatever the timing.
pub struct BackgroundEngine<M> {
    tasks: Option<Sender<Task<M>>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// Of the batches that are asked for and not received.
    open: Vec<Vec<Cancel>>,
}

impl<M> std::fmt::Debug for BackgroundEngine<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundEngine")
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

impl<M: Send + 'static> BackgroundEngine<M> {
    /// Puts an engine on a thread.
    pub fn new<E>(mut engine: E) -> Self
    where
        E: RolloutEngine + PolicySync<M> + Send + 'static,
    {
        let (tasks, waiting) = channel();
        let (sender, done) = channel();
        let thread = thread::spawn(move || work(&mut engine, &waiting, &sender));
        Self {
            tasks: Some(tasks),
            done,
            thread: Some(thread),
            open: Vec::new(),
        }
    }

    /// Samples from this policy what is asked for from now on. What stands in its way is told by the
    /// next batch.
    pub fn hand_over(&mut self, policy: M) {
        self.tell(Task::Policy(policy));
    }

    /// Asks for a batch.
    pub fn ask(&mut self, requests: Vec<GroupRequest>) {
        let cancels = requests.iter().map(|request| request.cancel.clone());
        self.open.push(cancels.collect());
        self.tell(Task::Sample(requests));
    }

    /// The number of batches that are asked for and not received.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Waits for the batch that was asked for first.
    ///
    /// # Errors
    /// What went wrong with it, or with a policy before it; [`Error::Device`] when the engine's
    /// thread has ended, and when nothing was asked for.
    pub fn receive(&mut self) -> Result<SampledBatch, Error> {
        if self.open.is_empty() {
            return Err(Error::Device("no batch was asked for".to_owned()));
        }
        self.open.remove(0);
        let ended = |_| Error::Device("the engine's thread has ended".to_owned());
        let Done {
            groups,
            worked,
            waited,
        } = self.done.recv().map_err(ended)?;
        Ok(SampledBatch {
            groups: groups?,
            worked,
            waited,
        })
    }

    fn tell(&self, task: Task<M>) {
        if let Some(tasks) = &self.tasks {
            // A thread that has ended is told of by `receive`.
            let _ = tasks.send(task);
        }
    }
}

impl<M> Drop for BackgroundEngine<M> {
    fn drop(&mut self) {
        // Nobody waits for what is still open.
        self.open.iter().flatten().for_each(Cancel::cancel);
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work<M, E: RolloutEngine + PolicySync<M>>(
    engine: &mut E,
    tasks: &Receiver<Task<M>>,
    done: &Sender<Done>,
) {
    let (mut refused, mut worked, mut waited) = (None, 0.0, 0.0);
    loop {
        let start = Instant::now();
        let Ok(task) = tasks.recv() else {
            return;
        };
        waited += start.elapsed().as_secs_f64();
        let start = Instant::now();
        match task {
            Task::Policy(policy) => {
                refused = engine.set_policy(&policy).err();
                worked += start.elapsed().as_secs_f64();
            }
            Task::Sample(requests) => {
                let groups = match refused.take() {
                    Some(error) => Err(error),
                    None => engine.generate(&requests),
                };
                worked += start.elapsed().as_secs_f64();
                if done
                    .send(Done {
                        groups,
                        worked,
                        waited,
                    })
                    .is_err()
                {
                    return;
                }
                (worked, waited) = (0.0, 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use visrl_core::{Completion, StopReason};

    use super::*;
    use crate::request::request_of;

    /// Answers with the policy's number.
    struct Numbered(u32);

    impl RolloutEngine for Numbered {
        fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
            let group = |request: &GroupRequest| {
                request.validate()?;
                Ok(Group {
                    prompt: Arc::clone(&request.prompt),
                    completions: vec![Completion {
                        tokens: vec![self.0],
                        logprobs: vec![0.0],
                        text: String::new(),
                        stop: StopReason::MaxTokens,
                    }],
                })
            };
            requests.iter().map(group).collect()
        }
    }

    impl PolicySync<u32> for Numbered {
        fn set_policy(&mut self, policy: &u32) -> Result<(), Error> {
            if *policy == 99 {
                return Err(Error::Device("no".to_owned()));
            }
            self.0 = *policy;
            Ok(())
        }
    }

    #[test]
    fn a_batch_is_of_the_policy_that_was_handed_over_before_it() {
        let mut engine = BackgroundEngine::new(Numbered(0));
        let token = |engine: &mut BackgroundEngine<u32>| {
            engine.receive().unwrap().groups[0].completions[0].tokens[0]
        };
        engine.ask(vec![request_of(3, 1, 1)]);
        engine.hand_over(1);
        engine.hand_over(2);
        engine.ask(vec![request_of(3, 1, 1)]);
        assert_eq!(engine.open(), 2);
        assert_eq!((token(&mut engine), token(&mut engine)), (0, 2));
        assert!(engine.receive().is_err());
    }

    #[test]
    fn what_goes_wrong_is_told_by_its_batch() {
        let mut engine = BackgroundEngine::new(Numbered(0));
        engine.ask(vec![request_of(3, 0, 1)]);
        engine.hand_over(99);
        engine.ask(vec![request_of(3, 1, 1)]);
        engine.ask(vec![request_of(3, 1, 1)]);
        assert!(matches!(engine.receive(), Err(Error::Request { .. })));
        assert!(matches!(engine.receive(), Err(Error::Device(message)) if message == "no"));
        assert!(engine.receive().is_ok());
    }

    #[test]
    fn an_engine_that_is_dropped_ends() {
        let mut engine = BackgroundEngine::new(Numbered(0));
        let request = request_of(3, 1, 1);
        let cancel = request.cancel.clone();
        engine.ask(vec![request]);
        drop(engine);
        assert!(cancel.is_cancelled());
    }
}
