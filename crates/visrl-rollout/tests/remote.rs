//! The engine whose model runs on a vLLM server, against answers that a real one gave, or with
//! `VISRL_VLLM` set to its address against that one, which must serve `assets/base`.

#![allow(clippy::print_stdout)]

mod vllm_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde_json::json;
use visrl_core::{Domain, Group, ImageSource, Prompt, SeedStream, StopReason};
use visrl_rollout::conformance::{self, Expected};
use visrl_rollout::{
    EngineConfig, Error, GroupRequest, NativeEngine, PolicySync, RemoteConfig, RemoteEngine,
    RolloutEngine, SamplingParams,
};
use visrl_vlm::{FeatureStore, Pretrained, QwenVl, VisionLanguageModel};
use vllm_server::{Fault, Server};

fn base() -> Pretrained<QwenVl> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/base");
    Pretrained::load(dir, &Device::flex()).unwrap()
}

const QUESTIONS: [&str; 2] = [
    "What type of clothing is in the photo?\nPlease directly output the answer.",
    "What is this?",
];

/// A question about a picture of this size, whose content depends on its number.
fn prompt(number: u32, (width, height): (u32, u32), question: &str) -> Arc<Prompt> {
    let pixel = |i: u32| ((i * 7 + i / width * 31 * (number + 1)) % 256) as u8;
    let image = ImageSource::Gray {
        name: format!("picture {number}").into(),
        width,
        height,
        pixels: (0..width * height).map(pixel).collect(),
    };
    Arc::new(Prompt::user(format!("prompt {number}"), image, question))
}

fn requests_of(
    base: &Pretrained<QwenVl>,
    prompts: Vec<Arc<Prompt>>,
    sampling: &SamplingParams,
    count: usize,
) -> Vec<GroupRequest> {
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    let stream = SeedStream::new(1, Domain::Sampling);
    (0..)
        .zip(prompts.into_iter().zip(inputs))
        .map(|(index, (prompt, input))| GroupRequest {
            num_generations: count,
            sampling: sampling.clone(),
            index,
            ..GroupRequest::new(prompt, input, stream)
        })
        .collect()
}

fn requests(
    base: &Pretrained<QwenVl>,
    sampling: &SamplingParams,
    count: usize,
) -> Vec<GroupRequest> {
    // The embedded model sees everything at one size.
    let prompts = (0..).zip(QUESTIONS);
    let prompts = prompts.map(|(n, question)| prompt(n, (28 + n, 28 + n), question));
    requests_of(base, prompts.collect(), sampling, count)
}

fn sampled() -> SamplingParams {
    SamplingParams {
        max_new_tokens: 6,
        ..SamplingParams::default()
    }
}

struct Setup {
    base: Pretrained<QwenVl>,
    engine: RemoteEngine,
    weights: PathBuf,
    _folder: tempfile::TempDir,
}

/// An engine of the embedded model on the server of this address.
fn setup(url: &str, change: impl FnOnce(&mut RemoteConfig)) -> Setup {
    setup_of(&base(), url, change)
}

fn setup_of(base: &Pretrained<QwenVl>, url: &str, change: impl FnOnce(&mut RemoteConfig)) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RemoteConfig {
        url: url.to_owned(),
        weights: folder.path().join("weights"),
        ..RemoteConfig::default()
    };
    change(&mut config);
    let weights = config.weights.join("visrl-policy");
    let files = base.files.clone();
    let engine = RemoteEngine::new(&base.encoder, base.model.info(), files, config).unwrap();
    Setup {
        base: base.clone(),
        engine,
        weights,
        _folder: folder,
    }
}

/// The server of `VISRL_VLLM`, or one with recorded answers.
fn with_server(test: impl Fn(&str)) {
    match std::env::var("VISRL_VLLM") {
        Ok(url) => test(&url),
        Err(_) => test(&Server::new().url),
    }
}

fn native(base: &Pretrained<QwenVl>) -> NativeEngine<QwenVl> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(16));
    NativeEngine::new(&base.model, tokenizer, features, EngineConfig::default())
}

fn tokens(groups: &[Group]) -> Vec<Vec<u32>> {
    let completions = groups.iter().flat_map(|group| &group.completions);
    completions
        .map(|completion| completion.tokens.clone())
        .collect()
}

#[test]
fn greedy_tokens_and_log_probabilities_are_those_of_the_engine_here() {
    with_server(|url| {
        let Setup {
            base, mut engine, ..
        } = setup(url, |_| {});
        engine.set_policy(&base.model).unwrap();
        let requests = requests(&base, &SamplingParams::greedy(6), 1);
        let found = engine.generate(&requests).unwrap();
        let own = native(&base).generate(&requests).unwrap();
        assert_eq!(tokens(&found), tokens(&own));
        for (found, own) in found.iter().zip(&own) {
            for (found, own) in found.completions.iter().zip(&own.completions) {
                assert_eq!((&found.text, &found.stop), (&own.text, &own.stop));
                for (a, b) in found.logprobs.iter().zip(&own.logprobs) {
                    assert!((a - b).abs() < 1e-3, "{a} {b}");
                }
            }
        }
    });
}

#[test]
#[ignore = "needs a vLLM server at `VISRL_VLLM` that serves `VISRL_VLLM_MODEL`: tests/vllm.sh"]
fn twenty_prompts_greedily_on_a_real_server() {
    let url = std::env::var("VISRL_VLLM").unwrap();
    let dir = std::env::var("VISRL_VLLM_MODEL").unwrap();
    let base = Pretrained::<QwenVl>::load(dir, &Device::flex()).unwrap();
    let Setup { mut engine, .. } = setup_of(&base, &url, |_| {});
    // Of another size no picture comes out of the embedded model's bounds as it went in.
    let prompts = (0..20).map(|number| prompt(number, (28, 28), QUESTIONS[0]));
    let requests = requests_of(&base, prompts.collect(), &SamplingParams::greedy(16), 1);
    let found = engine.generate(&requests).unwrap();
    let own = native(&base).generate(&requests).unwrap();
    assert_eq!(tokens(&found), tokens(&own));
    let pairs = found.iter().zip(&own);
    let logps = |group: &Group| group.completions[0].logprobs.clone();
    let pairs = pairs.flat_map(|(a, b)| logps(a).into_iter().zip(logps(b)));
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let count: usize = tokens(&found).iter().map(Vec::len).sum();
    println!("20 prompts, {count} tokens equal, log-probabilities to {largest:.1e}");
    assert!(largest < 1e-3);
}

#[test]
fn it_keeps_what_every_engine_keeps() {
    with_server(|url| {
        let Setup {
            base, mut engine, ..
        } = setup(url, |_| {});
        engine.set_policy(&base.model).unwrap();
        let requests = requests(&base, &sampled(), 4);
        let expected = Expected::of(base.model.info());
        let faults = conformance::check(&mut engine, &requests, &expected);
        assert!(faults.is_empty(), "{faults:#?}");
        let groups = engine.generate(&requests).unwrap();
        let mut different = tokens(&groups);
        different.sort();
        different.dedup();
        assert!(different.len() > 2, "{different:?}");
    });
}

#[test]
fn stop_strings_end_completions() {
    with_server(|url| {
        let Setup {
            base, mut engine, ..
        } = setup(url, |_| {});
        let own = native(&base)
            .generate(&requests(&base, &SamplingParams::greedy(6), 1))
            .unwrap();
        let text = &own[0].completions[0].text;
        let stop: String = text.chars().take(2).collect();
        let sampling = SamplingParams {
            stop_strings: vec![stop.clone()],
            ..SamplingParams::greedy(6)
        };
        let found = engine
            .generate(&requests(&base, &sampling, 1)[..1])
            .unwrap();
        let own = native(&base)
            .generate(&requests(&base, &sampling, 1)[..1])
            .unwrap();
        assert_eq!(found[0].completions[0].tokens, own[0].completions[0].tokens);
        assert_eq!(found[0].completions[0].stop, StopReason::StopString(stop));
    });
}

#[test]
fn weights_are_handed_over_and_named() {
    let server = Server::new();
    let Setup {
        base,
        mut engine,
        weights,
        ..
    } = setup(&server.url, |_| {});
    assert_eq!(engine.weight_version(), None);
    engine.set_policy(&base.model).unwrap();
    let first = engine.weight_version().unwrap();
    engine.set_policy(&base.model).unwrap();
    assert_ne!(engine.weight_version().unwrap(), first);
    let state = server.state();
    assert_eq!(state.loaded, [weights.clone(), weights.clone()]);
    assert_eq!(Some(&state.version), engine.weight_version().as_ref());
    for cache in [
        "/reset_prefix_cache",
        "/reset_mm_cache",
        "/reset_encoder_cache",
    ] {
        assert_eq!(state.paths.iter().filter(|path| *path == cache).count(), 2);
    }
    // What was written is a checkpoint.
    let written = Pretrained::<QwenVl>::load(&weights, &Device::flex()).unwrap();
    let own = native(&base)
        .generate(&requests(&base, &sampled(), 2))
        .unwrap();
    let again = native(&written)
        .generate(&requests(&base, &sampled(), 2))
        .unwrap();
    assert_eq!(tokens(&own), tokens(&again));
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::new();
    let Setup {
        base, mut engine, ..
    } = setup(&server.url, |_| {});
    let requests = requests(&base, &sampled(), 4);
    let expected = tokens(&engine.generate(&requests).unwrap());
    server.fail(Fault::Busy(3));
    assert_eq!(tokens(&engine.generate(&requests).unwrap()), expected);
    let counts = engine.counts();
    assert_eq!(
        (counts.repeated, counts.requests, counts.interrupted),
        (3, 19, 0)
    );
}

#[test]
fn a_server_that_dies_and_comes_back_gets_its_weights_again() {
    for nameless in [false, true] {
        let server = Server::new();
        let Setup {
            base, mut engine, ..
        } = setup(&server.url, |_| {});
        server.state().nameless = nameless;
        engine.set_policy(&base.model).unwrap();
        let requests = requests(&base, &sampled(), 4);
        let expected = tokens(&engine.generate(&requests).unwrap());
        server.fail(Fault::Dies(Duration::from_millis(700)));
        assert_eq!(tokens(&engine.generate(&requests).unwrap()), expected);
        let counts = engine.counts();
        assert_eq!((counts.handed_over, counts.loaded_again), (1, 1));
        assert!(counts.interrupted >= 1, "{counts:?}");
        assert_eq!(server.state().loaded.len(), 2);
    }
}

#[test]
fn a_server_that_stays_away_is_an_error_in_time() {
    let server = Server::new();
    let Setup {
        base, mut engine, ..
    } = setup(&server.url, |config| config.patience = 1.0);
    engine.set_policy(&base.model).unwrap();
    server.fail(Fault::Dies(Duration::from_secs(600)));
    let start = Instant::now();
    let error = engine
        .generate(&requests(&base, &sampled(), 2))
        .unwrap_err()
        .to_string();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(
        error.contains(&server.url) && error.contains("prompt 0"),
        "{error}"
    );
    // Nobody listens.
    let nobody = setup("http://127.0.0.1:9", |config| config.patience = 1.0);
    let Setup {
        base, mut engine, ..
    } = nobody;
    let error = engine.set_policy(&base.model).unwrap_err().to_string();
    assert!(
        error.contains("http://127.0.0.1:9: gave no answer for 1 s"),
        "{error}"
    );
}

#[test]
fn a_silent_server_is_given_up_and_cancelled_requests_are_not_waited_for() {
    let server = Server::new();
    let Setup {
        base, mut engine, ..
    } = setup(&server.url, |config| config.timeout = 2.0);
    server.fail(Fault::Silent);
    let requests = requests(&base, &sampled(), 2);
    let start = Instant::now();
    let error = engine.generate(&requests).unwrap_err().to_string();
    assert!(error.contains("`timeout`"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
    // By default a silent server is given ten minutes.
    let Setup { mut engine, .. } = setup(&server.url, |_| {});
    let cancel = requests[0].cancel.clone();
    let canceller = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    let start = Instant::now();
    let group = engine.generate(&requests[..1]).unwrap().remove(0);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(
        group
            .completions
            .iter()
            .all(|c| c.stop == StopReason::Cancelled)
    );
    canceller.join().unwrap();
}

#[test]
fn what_cannot_be_is_refused_by_prompt_and_field() {
    let server = Server::new();
    let Setup {
        base, mut engine, ..
    } = setup(&server.url, |_| {});
    let requests = requests(&base, &sampled(), 1);
    for (fault, part) in [
        (Fault::Nonsense("<html>a gateway</html>"), "no JSON"),
        (Fault::Nonsense("{}"), "`choices` is no list"),
        (
            Fault::Field("/choices", json!([])),
            "`choices` has 0 entries",
        ),
        (
            Fault::Field("/prompt_token_ids", json!([1, 2])),
            "they differ from token 0 on: [1, 2]",
        ),
        (
            Fault::Field("/prompt_token_ids", json!(null)),
            "`prompt_token_ids` is no list",
        ),
        (
            Fault::Field("/choices/0/token_ids", json!([99_999])),
            "log-probabilities for 1 tokens",
        ),
        (
            Fault::Field("/choices/0/token_ids", json!([-1])),
            "what is no token",
        ),
        (
            Fault::Field("/choices/0/token_ids", json!([])),
            "gives 0 tokens",
        ),
        (
            Fault::Field("/choices/0/token_ids", json!([5, 5, 5, 5, 5, 5, 5])),
            "gives 7 tokens, 1 to 6",
        ),
        (
            Fault::Field("/choices/0/logprobs", json!(null)),
            "logprobs.content` is no list",
        ),
        (
            Fault::Field("/choices/0/finish_reason", json!("abort")),
            "finish_reason",
        ),
    ] {
        server.fail(fault.clone());
        let error = engine.generate(&requests[..1]).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("prompt 0"),
            "{fault:?}: {error}"
        );
    }
    server.fail(Fault::NoWeights);
    let error = engine.set_policy(&base.model).unwrap_err().to_string();
    assert!(error.contains("VLLM_SERVER_DEV_MODE=1"), "{error}");
}

#[test]
fn what_the_server_does_not_know_is_refused_before_it_is_asked() {
    let server = Server::new();
    let Setup {
        base, mut engine, ..
    } = setup(&server.url, |_| {});
    let typical = SamplingParams {
        typical_p: 0.9,
        ..sampled()
    };
    let error = engine.generate(&requests(&base, &typical, 1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Params {
                field: "typical_p",
                ..
            }
        ),
        "{error}"
    );
    assert!(server.state().paths.is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let server = Server::new();
    let Setup {
        base,
        weights,
        _folder,
        ..
    } = setup(&server.url, |_| {});
    fs::write(weights.parent().unwrap(), "a file").unwrap();
    let taken = weights.parent().unwrap().to_owned();
    let Setup { mut engine, .. } = setup(&server.url, |config| config.weights = taken.clone());
    let error = engine.set_policy(&base.model).unwrap_err().to_string();
    assert!(error.contains(taken.to_str().unwrap()), "{error}");
}
