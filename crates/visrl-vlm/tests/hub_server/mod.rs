//! A server that speaks the hub's protocol, and its faults.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use visrl_vlm::HubSettings;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(super) const TOKEN: &str = "hf_secret";

/// What the server does wrong.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// The next connection for the weights is cut after so many bytes.
    Cut(usize),
    /// It sends nothing more after so many bytes, each time.
    Stall(usize),
    /// It never answers.
    Silent,
    /// The weights are others than it says.
    Wrong,
    /// It gives no parts: ranges are not looked at.
    NoRanges,
}

/// A hub with one model, `org/net`, whose files are those of a folder.
pub(super) struct Server {
    pub(super) endpoint: String,
    pub(super) state: Arc<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) files: Mutex<HashMap<String, Vec<u8>>>,
    pub(super) fault: Mutex<Fault>,
    pub(super) private: bool,
    /// Requests with their methods, paths and ranges.
    pub(super) log: Mutex<Vec<String>>,
    pub(super) sent: AtomicUsize,
}

impl Server {
    pub(super) fn new(private: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/base");
        let files = fs::read_dir(base).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        });
        let mut files: HashMap<_, _> = files.collect();
        // Nobody needs these.
        files.insert("README.md".into(), b"a card".to_vec());
        files.insert("pytorch_model.bin".into(), vec![0; 1000]);
        let state = Arc::new(State {
            files: Mutex::new(files),
            private,
            ..State::default()
        });
        let (shared, address) = (Arc::clone(&state), endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, address) = (Arc::clone(&shared), address.clone());
                std::thread::spawn(move || drop(serve(&state, &address, stream.unwrap())));
            }
        });
        Self { endpoint, state }
    }

    pub(super) fn fail(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    pub(super) fn settings(&self, cache: &Path) -> HubSettings {
        HubSettings {
            cache: Some(cache.to_owned()),
            endpoint: self.endpoint.clone(),
            token: None,
            offline: false,
            patience: Duration::from_secs(1),
            progress: false,
        }
    }

    /// The requests so far, and forgets them.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.log.lock().unwrap())
    }
}

/// Answers one request.
pub(super) fn serve(state: &State, address: &str, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let lines = lines.iter().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_owned())
    };
    let mut first = lines[0].split(' ');
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let range = header("range");
    let noted = range.clone().unwrap_or_default();
    let line = format!("{method} {path} {noted}");
    state.log.lock().unwrap().push(line.trim_end().to_owned());
    let fault = *state.fault.lock().unwrap();
    if fault == Fault::Silent {
        std::thread::sleep(Duration::from_secs(30));
        return Ok(());
    }
    let mut reply = |status: &str, headers: &[String]| {
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n"
        )
    };
    let none = "Content-Length: 0".to_owned();
    let Some(file) = path.strip_prefix("/cdn/") else {
        let token = header("authorization");
        if state.private && token != Some(format!("Bearer {TOKEN}")) {
            return reply("401 Unauthorized", &[none]);
        }
        // A renamed model.
        if let Some(rest) = path.strip_prefix("/old/net/") {
            let to = format!("Location: /org/net/{rest}");
            return reply("307 Temporary Redirect", &[to, none]);
        }
        let code = |code: &str| [format!("X-Error-Code: {code}"), none.clone()];
        let Some(rest) = path.strip_prefix("/org/net/resolve/") else {
            return reply("404 Not Found", &code("RepoNotFound"));
        };
        let (revision, file) = rest.split_once('/').unwrap();
        if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return reply("404 Not Found", &code("RevisionNotFound"));
        }
        let files = state.files.lock().unwrap();
        let Some(bytes) = files.get(file) else {
            return reply("404 Not Found", &code("EntryNotFound"));
        };
        let commit = format!("X-Repo-Commit: {COMMIT}");
        let sha: String = Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        if file.ends_with(".safetensors") {
            let headers = [
                commit,
                format!("X-Linked-Etag: \"{sha}\""),
                format!("X-Linked-Size: {}", bytes.len()),
                format!("Location: {address}/cdn/{file}"),
                none,
            ];
            return reply("302 Found", &headers);
        }
        let headers = [
            commit,
            format!("ETag: W/\"{}\"", &sha[..40]),
            format!("Content-Length: {}", bytes.len()),
        ];
        reply("200 OK", &headers)?;
        return match method {
            "HEAD" => Ok(()),
            _ => stream.write_all(bytes),
        };
    };
    let mut bytes = state.files.lock().unwrap()[file].clone();
    if fault == Fault::Wrong {
        bytes[99] ^= 1;
    }
    let from = match (range, fault) {
        (None, _) | (_, Fault::NoRanges) => None,
        (Some(range), _) => range
            .strip_prefix("bytes=")
            .and_then(|r| r.strip_suffix('-').map(str::to_owned)),
    };
    let from: Option<usize> = from.map(|from| from.parse().unwrap());
    let body = &bytes[from.unwrap_or(0)..];
    let length = format!("Content-Length: {}", body.len());
    match from {
        None => reply("200 OK", &[length])?,
        Some(from) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            let range = format!("Content-Range: bytes {from}-{last}/{all}");
            reply("206 Partial Content", &[length, range])?;
        }
    }
    let most = match fault {
        Fault::Cut(most) => {
            *state.fault.lock().unwrap() = Fault::None;
            most
        }
        Fault::Stall(most) => most,
        _ => body.len(),
    };
    let most = most.min(body.len());
    stream.write_all(&body[..most])?;
    state.sent.fetch_add(most, Ordering::Relaxed);
    if matches!(fault, Fault::Stall(_)) {
        std::thread::sleep(Duration::from_secs(10));
    }
    Ok(())
}
