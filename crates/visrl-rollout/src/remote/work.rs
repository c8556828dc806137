//! Many requests at once, again where a server was busy.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, Failure};
use crate::request::Cancel;

/// How often cancelled requests are looked for.
const LOOK: Duration = Duration::from_millis(50);
/// The longest pause before a busy server is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// What a remote engine did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteCounts {
    /// Requests that were sent, of one completion each, those that were sent again included.
    pub requests: u64,
    /// Requests that were sent again because the server was busy.
    pub repeated: u64,
    /// Batches that were begun again because the server was lost while it worked on them.
    pub interrupted: u64,
    /// Times that weights were handed over.
    pub handed_over: u64,
    /// Times that the server had lost its weights and was given them again.
    pub loaded_again: u64,
}

/// A request.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) body: Arc<str>,
    pub(super) cancel: Cancel,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Answered(Value),
    Cancelled,
    /// Why there is no answer.
    Failed(String),
}

/// How requests are sent.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// The most at once.
    pub(super) at_once: usize,
    /// How long a busy server is asked again.
    pub(super) patience: Duration,
}

/// What all threads of a batch share.
struct Batch {
    client: Client,
    path: &'static str,
    patience: Duration,
    waiting: Mutex<VecDeque<(usize, Task)>>,
    /// Nobody waits for answers any more.
    over: AtomicBool,
    sent: AtomicU64,
    repeated: AtomicU64,
}

/// Sends all requests and waits for what becomes of them, in their order.
///
/// # Errors
/// What happened when the server was lost on the way: all of it has to be asked again.
pub(super) fn ask_all(
    client: &Client,
    path: &'static str,
    tasks: &[Task],
    pace: Pace,
    counts: &mut RemoteCounts,
) -> Result<Vec<Outcome>, String> {
    let batch = Arc::new(Batch {
        client: client.clone(),
        path,
        patience: pace.patience,
        waiting: Mutex::new(tasks.iter().cloned().enumerate().collect()),
        over: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
    });
    let (sender, receiver) = channel();
    for _ in 0..pace.at_once.min(tasks.len()) {
        let (batch, sender) = (Arc::clone(&batch), sender.clone());
        // Not scoped: nobody has to wait for the answer to a request that was cancelled.
        thread::spawn(move || batch.work(&sender));
    }
    drop(sender);
    let mut outcomes: Vec<Option<Outcome>> = vec![None; tasks.len()];
    let mut open = tasks.len();
    let mut lost = None;
    while open > 0 && lost.is_none() {
        match receiver.recv_timeout(LOOK) {
            Ok((place, _)) if outcomes[place].is_some() => {}
            Ok((place, answer)) => {
                outcomes[place] = Some(match answer {
                    None => Outcome::Cancelled,
                    Some(Ok(answer)) => Outcome::Answered(answer),
                    Some(Err(Failure::Lost(message))) => {
                        lost = Some(message);
                        break;
                    }
                    Some(Err(failure)) => Outcome::Failed(failure.message().to_owned()),
                });
                open -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {
                for (outcome, task) in outcomes.iter_mut().zip(tasks) {
                    if outcome.is_none() && task.cancel.is_cancelled() {
                        *outcome = Some(Outcome::Cancelled);
                        open -= 1;
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => lost = Some("no thread is left".to_owned()),
        }
    }
    batch.over.store(true, Ordering::Relaxed);
    counts.requests += batch.sent.load(Ordering::Relaxed);
    counts.repeated += batch.repeated.load(Ordering::Relaxed);
    match lost {
        Some(message) => Err(message),
        None => Ok(outcomes.into_iter().flatten().collect()),
    }
}

impl Batch {
    fn work(&self, sender: &Sender<(usize, Option<Result<Value, Failure>>)>) {
        while !self.over.load(Ordering::Relaxed) {
            let next = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some((place, task)) = next else {
                return;
            };
            if sender.send((place, self.ask(&task))).is_err() {
                return;
            }
        }
    }

    /// The answer to a request, which is sent again as long as the server is busy; nothing for one
    /// that is cancelled before.
    fn ask(&self, task: &Task) -> Option<Result<Value, Failure>> {
        if task.cancel.is_cancelled() {
            return None;
        }
        let start = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            self.sent.fetch_add(1, Ordering::Relaxed);
            match self.client.post(self.path, &task.body) {
                Err(Failure::Busy(message)) if start.elapsed() < self.patience => {
                    tracing::debug!("sent again: {message}");
                    self.repeated.fetch_add(1, Ordering::Relaxed);
                }
                other => return Some(other),
            }
            let wake = Instant::now() + pause;
            while Instant::now() < wake {
                if task.cancel.is_cancelled() || self.over.load(Ordering::Relaxed) {
                    return None;
                }
                thread::sleep(LOOK.min(wake - Instant::now()));
            }
            pause = (pause * 2).min(PAUSE);
        }
    }
}
