//! How the hub and its cache are reached.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::Cache;

/// Where the hub is.
const ENDPOINT: &str = "https://huggingface.co";
/// How long a server may send nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How models are found by their names on the Hugging Face hub.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The folder of the cache, laid out as the hub's own tools do; nothing where there is no home
    /// folder and no variable names one.
    pub cache: Option<PathBuf>,
    /// The address of the hub or of a mirror.
    pub endpoint: String,
    /// What private and gated models are read with.
    pub token: Option<String>,
    /// Whether nothing may be downloaded.
    pub offline: bool,
    /// How long a server may send nothing before a download is given up.
    pub patience: Duration,
    /// Whether a bar shows downloads, on standard error where that is a terminal.
    pub progress: bool,
}

impl HubSettings {
    /// As the environment says, in the hub's own variables: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or
    /// else `~/.cache/huggingface/hub`; `HF_ENDPOINT`; `HF_TOKEN`, or the file `token` in `HF_HOME`
    /// (`HF_TOKEN_PATH`), which `hf auth login` writes; `HF_HUB_OFFLINE`; `HF_HUB_DOWNLOAD_TIMEOUT`
    /// in seconds (30); `HF_HUB_DISABLE_PROGRESS_BARS`. Variables that are empty say nothing.
    pub fn from_env() -> Self {
        let home = path("HF_HOME").or_else(|| {
            let cache = path("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
            Some(cache?.join("huggingface"))
        });
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let token = text("HF_TOKEN").or_else(|| {
            let token = std::fs::read_to_string(token_file?).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        });
        let seconds = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse::<u64>().ok());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            cache: path("HF_HUB_CACHE").or_else(|| Some(home?.join("hub"))),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            offline: is_set("HF_HUB_OFFLINE"),
            patience: seconds.map_or(PATIENCE, |seconds| Duration::from_secs(seconds.max(1))),
            progress: !is_set("HF_HUB_DISABLE_PROGRESS_BARS"),
        }
    }

    pub(super) fn cache(&self) -> Option<Cache> {
        self.cache.clone().map(Cache::new)
    }
}

fn text(name: &str) -> Option<String> {
    let text = env::var(name).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn path(name: &str) -> Option<PathBuf> {
    let path = env::var_os(name)?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Whether a switch is on, as the hub's tools read it.
fn is_set(name: &str) -> bool {
    text(name).is_some_and(|text| ["1", "ON", "YES", "TRUE"].contains(&&*text.to_uppercase()))
}
