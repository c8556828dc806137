//! vLLM: its chat requests, and its way to take new weights.
//!
//! The server must run with `VLLM_SERVER_DEV_MODE=1`, without which it takes no weights.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use visrl_core::Content;

use super::client::{Client, Failure};
use super::server::{Answer, Ended, Server};
use crate::error::Error;
use crate::request::GroupRequest;

/// How often the cache of prefixes is reset where blocks of it are still held.
const RESETS: u32 = 20;

#[derive(Clone, Debug)]
pub(super) struct Vllm {
    /// The name of the model; nothing for the only one.
    pub(super) model: Option<String>,
    pub(super) eos_token_ids: Vec<u32>,
    pub(super) banned_ids: Vec<u32>,
}

impl Server for Vllm {
    fn check(&self, request: &GroupRequest) -> Result<(), Error> {
        let sampling = &request.sampling;
        if sampling.typical_p < 1.0 {
            return Err(Error::Params {
                field: "typical_p",
                message: format!("is {}, which vLLM does not know", sampling.typical_p),
            });
        }
        match request.choices {
            Some(_) => Err(request.fault("asks for one of given answers, which vLLM cannot keep to token by token: let an engine in this process answer it")),
            None => Ok(()),
        }
    }

    /// Every parameter of sampling is named, as the server would take the checkpoint's own for
    /// those that are not.
    fn body(&self, request: &GroupRequest, images: &[String]) -> Value {
        let sampling = &request.sampling;
        let mut images = images.iter();
        let mut part = |content: &Content| match content {
            Content::Text(text) => json!({"type": "text", "text": text}),
            Content::Image(_) => {
                json!({"type": "image_url", "image_url": {"url": images.next()}})
            }
        };
        let messages = request.prompt.messages.iter().map(|message| {
            let content: Vec<Value> = message.content.iter().map(&mut part).collect();
            json!({"role": message.role.as_str(), "content": content})
        });
        let mut body = json!({
            "messages": messages.collect::<Vec<_>>(),
            "n": 1,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop": sampling.stop_strings,
            "stop_token_ids": self.eos_token_ids,
            "include_stop_str_in_output": true,
            "skip_special_tokens": false,
            "logprobs": true,
            "top_logprobs": 0,
            "return_token_ids": true,
        });
        if let Some(model) = &self.model {
            body["model"] = json!(model);
        }
        if !self.banned_ids.is_empty() {
            let banned = self.banned_ids.iter();
            let bias: Map<_, _> = banned.map(|id| (id.to_string(), json!(-100.0))).collect();
            body["logit_bias"] = Value::Object(bias);
        }
        body
    }

    fn seed(&self, body: &mut Value, seed: i64) {
        body["seed"] = json!(seed);
    }

    fn path(&self) -> &'static str {
        "/v1/chat/completions"
    }

    fn read(&self, answer: &Value) -> Result<Answer, String> {
        let choices = list(&answer["choices"], "choices")?;
        let [choice] = choices.as_slice() else {
            return Err(format!(
                "`choices` has {} entries, 1 asked for",
                choices.len()
            ));
        };
        let logprobs = list(
            &choice["logprobs"]["content"],
            "choices[0].logprobs.content",
        )?;
        let logprobs = logprobs.iter().map(|token| {
            let logprob = token["logprob"].as_f64();
            logprob
                .map(|logprob| logprob as f32)
                .ok_or("`logprob` is no number")
        });
        let ended = match choice["finish_reason"].as_str() {
            Some("stop") => Ended::Stopped,
            Some("length") => Ended::Length,
            other => return Err(format!("`choices[0].finish_reason` is {other:?}")),
        };
        Ok(Answer {
            prompt: ids(&answer["prompt_token_ids"], "prompt_token_ids")?,
            tokens: ids(&choice["token_ids"], "choices[0].token_ids")?,
            logprobs: logprobs.collect::<Result<_, _>>()?,
            ended,
        })
    }

    fn load(&self, client: &Client, folder: &Path, version: &str) -> Result<(), Failure> {
        let reload = json!({
            "method": "reload_weights",
            "kwargs": {"weights_path": folder},
        });
        client
            .post("/collective_rpc", &reload.to_string())
            .map_err(|failure| match failure {
                Failure::Unknown(message) => Failure::Refused(format!(
                    "{message}: it takes no weights; start vLLM with VLLM_SERVER_DEV_MODE=1"
                )),
                other => other,
            })?;
        for cache in ["/reset_mm_cache", "/reset_encoder_cache"] {
            known(client.post(cache, ""))?;
        }
        for round in 0.. {
            let reset = known(client.post("/reset_prefix_cache", ""))?;
            if reset.is_none_or(|reset| reset["success"] != false) {
                break;
            }
            if round == RESETS {
                let message = "/reset_prefix_cache fails: the server is at work for others, and \
                               would answer from what older weights computed";
                return Err(Failure::Refused(message.to_owned()));
            }
            thread::sleep(Duration::from_millis(50 << round.min(4)));
        }
        let named = json!({"new_version": version});
        known(client.post("/update_weight_version", &named.to_string())).map(|_| ())
    }

    fn version(&self, client: &Client) -> Result<Option<String>, Failure> {
        let info = known(client.get("/weight_info"))?;
        Ok(info.and_then(|info| info["weight_version"].as_str().map(str::to_owned)))
    }
}

/// The answer; nothing where an older server does not know the question.
fn known(answer: Result<Value, Failure>) -> Result<Option<Value>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Unknown(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("`{field}` is no list"))
}

/// Token ids.
fn ids(value: &Value, field: &str) -> Result<Vec<u32>, String> {
    let ids = list(value, field)?.iter().map(|id| {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("`{field}` holds what is no token"))
    });
    ids.collect()
}
