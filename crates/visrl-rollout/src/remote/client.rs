//! Requests with time-outs, and what went wrong with them.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, Timeout};

use super::config::RemoteConfig;
use crate::error::Error;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const MOST_BYTES: u64 = 256 << 20;
/// The most characters of an answer that an error shows.
const SHOWN: usize = 300;

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server cannot be reached, or the connection broke: it may be another one when it is back.
    Lost(String),
    /// The server says that it is busy: the same request may be answered later.
    Busy(String),
    /// The server has no such address.
    Unknown(String),
    /// Asking again would not help.
    Refused(String),
}

impl Failure {
    /// What happened, in words.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Lost(message) | Self::Busy(message) => message,
            Self::Unknown(message) | Self::Refused(message) => message,
        }
    }
}

/// Asks one server. A copy shares its connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    key: Option<String>,
}

impl Client {
    pub(super) fn new(config: &RemoteConfig) -> Self {
        let timeout = Duration::from_secs_f64(config.timeout);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("visrl/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(config.max_requests)
            .max_idle_connections_per_host(config.max_requests)
            .timeout_connect(Some(CONNECT.min(timeout)))
            .timeout_global(Some(timeout))
            .build();
        let key = std::env::var("VLLM_API_KEY").ok();
        Self {
            agent: agent.into(),
            url: config.url.trim_end_matches('/').to_owned(),
            key: key.filter(|key| !key.is_empty()),
        }
    }

    /// An [`Error::Server`] of this server.
    pub(super) fn fault(&self, message: impl Into<String>) -> Error {
        Error::Server {
            url: self.url.clone(),
            message: message.into(),
        }
    }

    /// What the server answers at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = match &self.key {
            Some(key) => request.header("Authorization", format!("Bearer {key}")),
            None => request,
        };
        answer(path, request.call())
    }

    /// What the server answers to a JSON text; null for an answer without one.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<Value, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.header("Content-Type", "application/json");
        let request = match &self.key {
            Some(key) => request.header("Authorization", format!("Bearer {key}")),
            None => request,
        };
        answer(path, request.send(body))
    }
}

/// What a connection that gives no answer means.
fn lost(path: &str, error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::Timeout(Timeout::Global) => {
            Failure::Refused(format!("{path} was not answered within `timeout`"))
        }
        error => Failure::Lost(format!("{path}: {error}")),
    }
}

fn answer(path: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Value, Failure> {
    let mut response = response.map_err(|error| lost(path, &error))?;
    let body = response.body_mut().with_config().limit(MOST_BYTES);
    let body = match body.read_to_vec() {
        Ok(body) => body,
        Err(ureq::Error::BodyExceedsLimit(bytes)) => {
            let message = format!("{path} is answered with more than {bytes} bytes");
            return Err(Failure::Refused(message));
        }
        Err(error) => return Err(lost(path, &error)),
    };
    let status = response.status();
    if status.is_success() {
        return match body.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice(&body).map_err(|error| {
                let shown = shown(&body);
                Failure::Refused(format!(
                    "{path} is answered with no JSON ({error}): {shown}"
                ))
            }),
        };
    }
    let message = format!("{path} is answered with {status}: {}", shown(&body));
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Busy(message),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Failure::Unknown(message),
        _ => Failure::Refused(message),
    })
}

/// The beginning of an answer: of an error in the usual forms its message.
fn shown(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| {
        let of = |value: &Value| value.as_str().map(str::to_owned);
        of(&json["error"]["message"])
            .or_else(|| of(&json["message"]))
            .or_else(|| of(&json["error"]))
            .or_else(|| of(&json["detail"]))
    });
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None if text.is_empty() => "no text".to_owned(),
        None => text,
    }
}
