//! A server that gives the answers that vLLM gave, and its faults.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// So many of the next completions are refused, as it is busy.
    Busy(usize),
    /// Completions are never answered.
    Silent,
    /// The next completion's connection is cut within the answer; the server has then lost what
    /// weights it was given, and every connection is refused for this long.
    Dies(Duration),
    /// Completions are answered with this in place of JSON.
    Nonsense(&'static str),
    /// A field of the answer, by its JSON pointer, is another.
    Field(&'static str, Value),
    /// It takes no weights.
    NoWeights,
}

/// What the server was asked, and what it holds.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) fault: Fault,
    /// Whether it is an older one, which does not know its weights by name.
    pub(crate) nameless: bool,
    /// The name of its weights.
    pub(crate) version: String,
    /// The folders that it loaded weights from.
    pub(crate) loaded: Vec<PathBuf>,
    /// The paths that it was asked at.
    pub(crate) paths: Vec<String>,
}

/// A server with recorded answers.
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

/// Recorded requests, their images left out, with their answers.
struct Recorded(Vec<(Value, Value)>);

impl Recorded {
    fn read() -> Self {
        let folder = visrl_testing::part("remote");
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        let mut all = Vec::new();
        for path in entries {
            let text = fs::read_to_string(&path).unwrap();
            for line in text.lines() {
                let entry: Value = serde_json::from_str(line).unwrap();
                if entry["path"] == "/v1/chat/completions" {
                    all.push((entry["request"].clone(), entry["answer"].clone()));
                }
            }
        }
        Self(all)
    }

    fn answer(&self, mut request: Value) -> Option<Value> {
        without_images(&mut request);
        let mut found = self.0.iter().filter(|(other, _)| *other == request);
        found.next().map(|(_, answer)| answer.clone())
    }
}

/// Takes the pictures out of a request, whose bytes may differ from one PNG encoder to the next.
fn without_images(request: &mut Value) {
    let messages = request["messages"].as_array_mut().into_iter().flatten();
    let parts = messages.flat_map(|m| m["content"].as_array_mut().into_iter().flatten());
    for part in parts {
        if let Some(image) = part.get_mut("image_url") {
            let url = image["url"].as_str().unwrap();
            assert!(url.starts_with("data:image/png;base64,iVBOR"), "{url:.40}");
            *image = json!("");
        }
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, recorded) = (Arc::clone(&state), Arc::new(Recorded::read()));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, recorded) = (Arc::clone(&shared), Arc::clone(&recorded));
                thread::spawn(move || drop(serve(&state, &recorded, stream.unwrap())));
            }
        });
        Self { url, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.state().fault = fault;
    }
}

/// Answers one request and closes the connection.
fn serve(state: &Mutex<State>, recorded: &Recorded, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut held = state.lock().unwrap();
    held.paths.push(path.clone());
    let fault = held.fault.clone();
    let mut reply = |status: &str, body: &str| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}");
        write!(stream, "{head}\r\n\r\n{body}")
    };
    let unknown = r#"{"detail":"Not Found"}"#;
    match (path.as_str(), &fault) {
        // Whoever is dead answers nothing.
        (_, Fault::Dies(time)) if time.is_zero() => return Ok(()),
        ("/v1/chat/completions", _) => {}
        ("/weight_info" | "/update_weight_version", _) if held.nameless => {
            return reply("404 Not Found", unknown);
        }
        ("/weight_info", _) => {
            let info = json!({"weight_version": held.version});
            return reply("200 OK", &info.to_string());
        }
        ("/update_weight_version", _) => {
            held.version = body["new_version"].as_str().unwrap().to_owned();
            return reply("200 OK", r#"{"success":true}"#);
        }
        ("/collective_rpc", Fault::NoWeights) => return reply("404 Not Found", unknown),
        ("/collective_rpc", _) => {
            assert_eq!(body["method"], "reload_weights");
            let folder = PathBuf::from(body["kwargs"]["weights_path"].as_str().unwrap());
            assert!(folder.join("model.safetensors").exists(), "{folder:?}");
            held.loaded.push(folder);
            return reply("200 OK", r#"{"results":[null]}"#);
        }
        ("/reset_prefix_cache", _) => return reply("200 OK", r#"{"success":true}"#),
        ("/reset_mm_cache" | "/reset_encoder_cache", _) => return reply("200 OK", ""),
        _ => return reply("404 Not Found", unknown),
    }
    let Some(mut answer) = recorded.answer(body.clone()) else {
        let message =
            json!({"error": {"message": format!("nothing was recorded for {body:.400}")}});
        return reply("400 Bad Request", &message.to_string());
    };
    match fault {
        Fault::Busy(0) => held.fault = Fault::None,
        Fault::Busy(left) => {
            held.fault = Fault::Busy(left - 1);
            return reply(
                "503 Service Unavailable",
                r#"{"error":{"message":"at work"}}"#,
            );
        }
        Fault::Silent => {
            drop(held);
            thread::sleep(Duration::from_secs(60));
            return Ok(());
        }
        Fault::Dies(time) => {
            held.version = "default".to_owned();
            held.fault = Fault::Dies(Duration::ZERO);
            drop(held);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{\"id\":"
            )?;
            drop((stream, reader));
            thread::sleep(time);
            state.lock().unwrap().fault = Fault::None;
            return Ok(());
        }
        Fault::Nonsense(text) => return reply("200 OK", text),
        Fault::Field(pointer, value) => *answer.pointer_mut(pointer).unwrap() = value,
        Fault::None | Fault::NoWeights => {}
    }
    drop(held);
    reply("200 OK", &answer.to_string())
}
