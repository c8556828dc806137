//! New weights over a shared folder, and whether the server still has them.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use visrl_vlm::{CheckpointFiles, VisionLanguageModel, merge_lora};

use super::client::{Client, Failure};
use super::config::RemoteConfig;
use super::server::Server;
use crate::error::Error;

/// The folder of the policy within the shared one.
const POLICY: &str = "visrl-policy";
/// The longest pause between two questions to a server that does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The weights that a server is to sample from.
#[derive(Debug)]
pub(super) struct Weights {
    config: RemoteConfig,
    /// What stands beside the weights in their folder.
    files: CheckpointFiles,
    /// Tells these weights from those of other runs.
    run: String,
    /// How often weights were handed over.
    pub(super) handed_over: u64,
    /// Whether the server is known to have them: not after it was lost.
    known: bool,
    /// How often the server had lost them.
    pub(super) loaded_again: u64,
}

impl Weights {
    pub(super) fn new(config: RemoteConfig, files: CheckpointFiles) -> Self {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            config,
            files,
            run: format!("{:x}-{:x}", std::process::id(), time.as_nanos()),
            handed_over: 0,
            known: true,
            loaded_again: 0,
        }
    }

    /// What the server is to call them; nothing before the first were handed over.
    pub(super) fn version(&self) -> Option<String> {
        (self.handed_over > 0).then(|| format!("visrl-{}-{}", self.run, self.handed_over))
    }

    /// Writes a policy, with its adapters merged, and makes the server load it.
    pub(super) fn hand_over<M: VisionLanguageModel>(
        &mut self,
        policy: &M,
        client: &Client,
        server: &dyn Server,
    ) -> Result<(), Error> {
        let merged = merge_lora(policy.valid());
        let folder = self.config.weights.join(POLICY);
        self.files.save(&merged, &folder, self.config.dtype)?;
        self.handed_over += 1;
        self.known = false;
        self.load(client, server)
    }

    /// The server was lost: it may have come back without the weights.
    pub(super) fn lost(&mut self) {
        self.known = false;
    }

    /// Makes sure that the server has the weights, and waits for it as long as patience lasts.
    pub(super) fn ensure(&mut self, client: &Client, server: &dyn Server) -> Result<(), Error> {
        if self.are_there(client, server)? {
            return Ok(());
        }
        self.loaded_again += 1;
        tracing::warn!(
            "{}: the server has lost the weights that it was given: they are loaded again",
            self.config.url
        );
        self.load(client, server)
    }

    /// Whether the server has the weights, as far as it can tell.
    pub(super) fn are_there(
        &mut self,
        client: &Client,
        server: &dyn Server,
    ) -> Result<bool, Error> {
        let Some(version) = self.version() else {
            return Ok(true);
        };
        let found = self.wait(client, || server.version(client))?;
        Ok(found.map_or(self.known, |found| found == version))
    }

    fn load(&mut self, client: &Client, server: &dyn Server) -> Result<(), Error> {
        let seen = self.config.weights_on_server.as_ref();
        let folder = seen.unwrap_or(&self.config.weights).join(POLICY);
        let folder: PathBuf = match seen {
            Some(_) => folder,
            None => std::path::absolute(&folder).unwrap_or(folder),
        };
        let version = self.version().unwrap_or_default();
        self.wait(client, || server.load(client, &folder, &version))?;
        self.known = true;
        Ok(())
    }

    /// Asks until there is an answer, as long as patience lasts.
    fn wait<T>(&self, client: &Client, ask: impl Fn() -> Result<T, Failure>) -> Result<T, Error> {
        let (start, patience) = (Instant::now(), self.config.patience);
        let mut pause = Duration::from_millis(50);
        loop {
            let message = match ask() {
                Ok(answer) => return Ok(answer),
                Err(Failure::Lost(message) | Failure::Busy(message)) => message,
                Err(failure) => return Err(client.fault(failure.message())),
            };
            if start.elapsed().as_secs_f64() > patience {
                let message = format!("gave no answer for {patience} s (`patience`): {message}");
                return Err(client.fault(message));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }
}
