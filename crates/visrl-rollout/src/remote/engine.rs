//! An engine whose model runs on a server.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use visrl_core::{Completion, Group, StopReason};
use visrl_vlm::{
    CheckpointFiles, ModelInfo, Processor, PromptEncoder, Tokenizer, VisionLanguageModel,
};

use super::answer::Expected;
use super::client::Client;
use super::config::RemoteConfig;
use super::images::data_url;
use super::server::Server;
use super::vllm::Vllm;
use super::weights::Weights;
use super::work::{Outcome, Pace, RemoteCounts, Task, ask_all};
use crate::engine::{PolicySync, RolloutEngine};
use crate::error::Error;
use crate::request::GroupRequest;
use crate::sampler::DrawCounter;

/// The pause before a server that was lost is looked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Samples on a vLLM server, which is given the policy's weights over a shared folder.
///
/// Each completion is a request of its own with a seed of its own, which depends on (stream, step,
/// prompt, sample) alone; other random numbers than this process's own, so that completions are
/// others than those of the engines here. What a server answers is held to the request: it must read
/// the prompt token by token as this model does, and give no more tokens than asked, with a
/// log-probability each. Answers that were begun before and ended after the server was lost are
/// thrown away, as it may have come back with other weights.
///
/// Closed lists of answers ([`GroupRequest::choices`]) and `typical_p` are refused.
pub struct RemoteEngine {
    config: RemoteConfig,
    client: Client,
    server: Box<dyn Server>,
    pictures: Arc<dyn Processor>,
    tokenizer: Arc<Tokenizer>,
    info: ModelInfo,
    weights: Weights,
    counts: RemoteCounts,
}

impl std::fmt::Debug for RemoteEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteEngine")
            .field("config", &self.config)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl RemoteEngine {
    /// An engine for models with this description, whose prompts come from `encoder`. `files` are
    /// what stands beside the weights in a checkpoint. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`Error::Params`] for a value of the configuration that cannot be used.
    pub fn new(
        encoder: &PromptEncoder,
        info: &ModelInfo,
        files: CheckpointFiles,
        config: RemoteConfig,
    ) -> Result<Self, Error> {
        config.validate()?;
        let server = Vllm {
            model: config.model.clone(),
            eos_token_ids: info.eos_token_ids.clone(),
            banned_ids: info.banned_ids.clone(),
        };
        Ok(Self {
            client: Client::new(&config),
            server: Box::new(server),
            pictures: Arc::clone(encoder.shared_processor()),
            tokenizer: Arc::clone(encoder.tokenizer()),
            info: info.clone(),
            weights: Weights::new(config.clone(), files),
            counts: RemoteCounts::default(),
            config,
        })
    }

    /// What was done so far.
    pub fn counts(&self) -> RemoteCounts {
        RemoteCounts {
            handed_over: self.weights.handed_over,
            loaded_again: self.weights.loaded_again,
            ..self.counts
        }
    }

    /// What the server calls the weights that completions come from; nothing before any were handed
    /// over, while it samples from those that it was started with.
    pub fn weight_version(&self) -> Option<String> {
        self.weights.version()
    }

    /// The requests of a group, one a completion.
    fn tasks(&self, request: &GroupRequest) -> Result<Vec<Task>, Error> {
        request.validate()?;
        request.validate_prompt(self.info.image_token_id)?;
        self.server.check(request)?;
        let images = request.prompt.images();
        let images: Vec<String> = images
            .map(|image| data_url(&*self.pictures, image))
            .collect::<Result<_, _>>()?;
        let mut body = self.server.body(request, &images);
        let samples = 0..request.num_generations;
        Ok(samples
            .map(|sample| {
                self.server.seed(&mut body, seed(request, sample));
                Task {
                    body: body.to_string().into(),
                    cancel: request.cancel.clone(),
                }
            })
            .collect())
    }

    /// What becomes of all requests, by one policy from the first to the last.
    fn ask(&mut self, tasks: &[Task]) -> Result<Vec<Outcome>, Error> {
        let pace = Pace {
            at_once: self.config.max_requests,
            patience: Duration::from_secs_f64(self.config.patience),
        };
        let mut lost_since: Option<Instant> = None;
        loop {
            self.weights.ensure(&self.client, &*self.server)?;
            let path = self.server.path();
            match ask_all(&self.client, path, tasks, pace, &mut self.counts) {
                Ok(outcomes) => {
                    if self.weights.are_there(&self.client, &*self.server)? {
                        return Ok(outcomes);
                    }
                }
                Err(message) => {
                    self.weights.lost();
                    let since = *lost_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > pace.patience {
                        return Err(self
                            .client
                            .fault(format!("was lost again and again: {message}")));
                    }
                    tracing::warn!(
                        "{}: {message}; what was asked is asked again",
                        self.config.url
                    );
                    thread::sleep(PAUSE);
                }
            }
            self.counts.interrupted += 1;
        }
    }

    fn completion(&self, request: &GroupRequest, outcome: Outcome) -> Result<Completion, Error> {
        let expected = Expected {
            info: &self.info,
            tokenizer: &self.tokenizer,
        };
        let completion = match outcome {
            Outcome::Answered(answer) => self
                .server
                .read(&answer)
                .map_err(|message| format!("answers what cannot be read: {message}"))
                .and_then(|answer| expected.completion(request, answer)),
            Outcome::Cancelled => Ok(Completion {
                tokens: Vec::new(),
                logprobs: Vec::new(),
                text: String::new(),
                stop: StopReason::Cancelled,
            }),
            Outcome::Failed(message) => Err(message),
        };
        completion.map_err(|message| request.fault(format!("{}: {message}", self.config.url)))
    }
}

/// The seed of a completion, 0 to 2^53.
fn seed(request: &GroupRequest, sample: usize) -> i64 {
    let counter = DrawCounter {
        step: request.step,
        prompt: request.index,
        sample: sample as u32,
        position: 0,
    };
    (counter.uniform(&request.stream) * 2f64.powi(53)) as i64
}

impl RolloutEngine for RemoteEngine {
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let tasks: Vec<_> = requests.iter().map(|request| self.tasks(request)).collect();
        let all: Vec<Task> = tasks.iter().flatten().flatten().cloned().collect();
        let outcomes = match all.is_empty() {
            true => Ok(Vec::new()),
            false => self.ask(&all),
        };
        let mut outcomes = outcomes.map(Vec::into_iter);
        requests
            .iter()
            .zip(tasks)
            .map(|(request, tasks)| {
                let count = tasks?.len();
                let outcomes = match &mut outcomes {
                    Ok(outcomes) => outcomes.by_ref().take(count).collect::<Vec<_>>(),
                    Err(error) => return Err(request.fault(error.to_string())),
                };
                let completions = outcomes.into_iter().map(|o| self.completion(request, o));
                Ok(Group {
                    completions: completions.collect::<Result<_, _>>()?,
                    prompt: Arc::clone(&request.prompt),
                })
            })
            .collect()
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for RemoteEngine {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        self.weights.hand_over(policy, &self.client, &*self.server)
    }
}
