//! Models from the hub's cache, and from a server that speaks the hub's protocol.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::tensor::Device;
use sha2::{Digest, Sha256};
use visrl_vlm::{HubSettings, Pretrained, QwenVl};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// What the server does wrong.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fault {
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
struct Server {
    endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    files: Mutex<HashMap<String, Vec<u8>>>,
    fault: Mutex<Fault>,
    private: bool,
    /// Requests with their methods, paths and ranges.
    log: Mutex<Vec<String>>,
    sent: AtomicUsize,
}

impl Server {
    fn new(private: bool) -> Self {
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

    fn fail(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    fn settings(&self, cache: &Path) -> HubSettings {
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
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.log.lock().unwrap())
    }
}

/// Answers one request.
fn serve(state: &State, address: &str, mut stream: TcpStream) -> std::io::Result<()> {
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

fn load(settings: &HubSettings, name: &str) -> Result<PathBuf, String> {
    let folder = settings.model_folder(Path::new(name));
    folder.map_err(|error| error.to_string())
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found.sort();
    found
}

/// Nothing in a cache that looks like whole weights.
fn no_weights(cache: &Path) {
    let whole = |name: &String| {
        let large = fs::metadata(name).is_ok_and(|file| file.len() > 100_000);
        name.ends_with("model.safetensors") || (large && !name.ends_with(".incomplete"))
    };
    let found: Vec<_> = files(cache).into_iter().filter(whole).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_first_start_downloads_what_is_needed_and_the_second_nothing() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let folder = load(&settings, "org/net").unwrap();
    assert!(folder.ends_with(format!("models--org--net/snapshots/{COMMIT}")));
    Pretrained::<QwenVl>::load(&folder, &Device::flex()).unwrap();
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .any(|line| line.starts_with("GET /cdn/model.safetensors"))
    );
    for needless in ["README.md", "pytorch_model.bin", "index.json"] {
        assert!(
            !requests.iter().any(|line| line.contains(needless)),
            "{requests:?}"
        );
    }
    // As the hub's own tools lay it out.
    let model = cache.path().join("models--org--net");
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(folder.join("config.json")).unwrap();
    assert!(link.starts_with("../../blobs"), "{link:?}");
    assert!(
        model
            .join(".no_exist")
            .join(COMMIT)
            .join("merges.txt")
            .exists()
    );
    assert!(
        !files(cache.path())
            .iter()
            .any(|name| name.ends_with(".incomplete"))
    );
    assert_eq!(load(&settings, "org/net").unwrap(), folder);
    let offline = HubSettings {
        endpoint: "http://127.0.0.1:1".into(),
        offline: true,
        ..settings.clone()
    };
    assert_eq!(load(&offline, "org/net").unwrap(), folder);
    assert_eq!(
        load(&settings, &format!("org/net@{COMMIT}")).unwrap(),
        folder
    );
    assert!(server.requests().is_empty());
    // Another revision of the same commit moves no bytes again.
    assert_eq!(load(&settings, "org/net@refs/pr/1").unwrap(), folder);
    assert!(!server.requests().iter().any(|line| line.starts_with("GET")));
    // A renamed model.
    assert!(
        load(&settings, "old/net")
            .unwrap()
            .join("model.safetensors")
            .exists()
    );
}

#[test]
fn shards_are_those_of_the_index() {
    let server = Server::new(false);
    let weights = {
        let mut files = server.state.files.lock().unwrap();
        let weights = files.remove("model.safetensors").unwrap();
        let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}"#;
        files.insert("model.safetensors.index.json".into(), index.into());
        files.insert("model-1.safetensors".into(), weights.clone());
        files.insert("model-2.safetensors".into(), weights.clone());
        weights
    };
    let cache = tempfile::tempdir().unwrap();
    let folder = load(&server.settings(cache.path()), "org/net").unwrap();
    assert_eq!(
        fs::read(folder.join("model-1.safetensors")).unwrap(),
        weights
    );
    assert!(!folder.join("model-2.safetensors").exists());
    server
        .state
        .files
        .lock()
        .unwrap()
        .remove("model-1.safetensors");
    let cache = tempfile::tempdir().unwrap();
    let error = load(&server.settings(cache.path()), "org/net").unwrap_err();
    assert!(
        error.contains("model-1.safetensors is in the index"),
        "{error}"
    );
}

#[test]
fn a_download_that_is_cut_goes_on() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    server.fail(Fault::Cut(500_000));
    let folder = load(&server.settings(cache.path()), "org/net").unwrap();
    let size = fs::metadata(folder.join("model.safetensors"))
        .unwrap()
        .len() as usize;
    assert_eq!(server.state.sent.load(Ordering::Relaxed), size);
    let requests = server.requests();
    assert!(requests.contains(&"GET /cdn/model.safetensors bytes=500000-".to_owned()));
    // What another process left, also to a server that gives no parts.
    for (fault, sent) in [(Fault::None, size - 7), (Fault::NoRanges, size)] {
        server.fail(fault);
        let cache = tempfile::tempdir().unwrap();
        let blobs = cache.path().join("models--org--net/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let blob = fs::canonicalize(folder.join("model.safetensors")).unwrap();
        let part = format!("{}.incomplete", blob.file_name().unwrap().to_str().unwrap());
        fs::write(blobs.join(part), &fs::read(&blob).unwrap()[..7]).unwrap();
        server.state.sent.store(0, Ordering::Relaxed);
        let again = load(&server.settings(cache.path()), "org/net").unwrap();
        assert_eq!(server.state.sent.load(Ordering::Relaxed), sent);
        let read = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
        assert!(read(&again) == read(&folder));
    }
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    server.fail(Fault::Stall(0));
    let error = load(&settings, "org/net").unwrap_err();
    assert!(
        error.contains("org/net: model.safetensors") && error.contains("sent nothing for 1 s"),
        "{error}"
    );
    no_weights(cache.path());
    server.fail(Fault::Silent);
    let error = load(&settings, "org/net").unwrap_err();
    assert!(error.contains("sent nothing for 1 s"), "{error}");
    server.fail(Fault::None);
    load(&settings, "org/net").unwrap();
}

#[test]
fn bytes_that_are_not_those_of_the_hub_are_not_kept() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    server.fail(Fault::Wrong);
    let error = load(&server.settings(cache.path()), "org/net").unwrap_err();
    assert!(
        error.contains("model.safetensors has another checksum"),
        "{error}"
    );
    no_weights(cache.path());
    assert!(
        !files(cache.path())
            .iter()
            .any(|name| name.ends_with(".incomplete"))
    );
}

#[test]
fn private_models_need_a_token_which_goes_to_the_hub_alone() {
    let server = Server::new(true);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let error = load(&settings, "org/net").unwrap_err();
    assert!(
        error.contains("401") && error.contains("HF_TOKEN"),
        "{error}"
    );
    assert!(files(cache.path()).is_empty());
    let known = HubSettings {
        token: Some(TOKEN.into()),
        ..settings
    };
    load(&known, "org/net").unwrap();
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let error = load(&settings, "org/other").unwrap_err();
    assert!(
        error.starts_with("org/other: there is no folder of this name"),
        "{error}"
    );
    assert!(error.contains("404"), "{error}");
    let error = load(&settings, "org/net@v9").unwrap_err();
    assert!(error.contains("has no revision `v9`"), "{error}");
    let nobody = HubSettings {
        endpoint: "http://127.0.0.1:1".into(),
        ..settings.clone()
    };
    let error = load(&nobody, "org/net").unwrap_err();
    assert!(
        error.contains("cannot be reached") && error.contains("HF_HUB_OFFLINE"),
        "{error}"
    );
    let offline = HubSettings {
        offline: true,
        ..settings.clone()
    };
    let error = load(&offline, "org/net").unwrap_err();
    assert!(
        error.contains("lacks config.json") && error.contains("HF_HUB_OFFLINE"),
        "{error}"
    );
    server.state.files.lock().unwrap().remove("config.json");
    let error = load(&settings, "org/net").unwrap_err();
    assert!(error.contains("config.json is missing"), "{error}");
    assert!(files(cache.path()).is_empty(), "{:?}", files(cache.path()));
}

#[test]
fn many_at_once_download_once() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let folders: Vec<_> = std::thread::scope(|scope| {
        let load = || load(&settings, "org/net").unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(folders.iter().all(|folder| *folder == folders[0]));
    Pretrained::<QwenVl>::load(&folders[0], &Device::flex()).unwrap();
    let requests = server.requests();
    let of_weights = requests.iter().filter(|line| line.starts_with("GET /cdn/"));
    assert_eq!(of_weights.count(), 1, "{requests:?}");
}

#[test]
fn a_folder_of_that_name_goes_before() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let folder = Path::new("src/checkpoint");
    assert_eq!(settings.model_folder(folder).unwrap(), folder);
    for path in ["nowhere", "/no/where", "./a/b"] {
        assert_eq!(load(&settings, path).unwrap(), Path::new(path));
    }
    assert!(server.requests().is_empty());
}

/// Downloads in a process whose files may not grow: `no_room_for_the_weights` starts it.
#[test]
#[ignore = "a part of no_room_for_the_weights"]
fn download_without_room() {
    let text = |name: &str| std::env::var(name).unwrap();
    let settings = HubSettings {
        endpoint: text("HUB_TEST_ENDPOINT"),
        ..Server::new(false).settings(Path::new(&text("HUB_TEST_CACHE")))
    };
    let error = load(&settings, "org/net").unwrap_err();
    assert!(
        error.contains("model.safetensors cannot be written"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn no_room_for_the_weights() {
    let server = Server::new(false);
    let cache = tempfile::tempdir().unwrap();
    // Files of at most a megabyte, and an error in the place of a signal: as a full disk is.
    let limit = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --ignored --exact download_without_room";
    let mut child = Command::new("sh");
    child
        .args(["-c", limit])
        .arg(std::env::current_exe().unwrap());
    child.env("HUB_TEST_ENDPOINT", &server.endpoint);
    child.env("HUB_TEST_CACHE", cache.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    no_weights(cache.path());
    // With room it goes on from there.
    server.requests();
    load(&server.settings(cache.path()), "org/net").unwrap();
    let requests = server.requests();
    let of_weights: Vec<_> = requests
        .iter()
        .filter(|l| l.starts_with("GET /cdn/"))
        .collect();
    assert!(
        of_weights.len() == 1 && of_weights[0].contains("bytes="),
        "{requests:?}"
    );
}
