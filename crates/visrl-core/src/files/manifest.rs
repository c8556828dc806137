//! Sizes and checksums of a folder's files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::FileError;
use super::tables::from_json;

const MANIFEST: &str = "manifest.json";
/// The manifest's own checksum, in the format of `sha256sum -c`.
pub const SEAL: &str = "manifest.sha256";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    bytes: u64,
    sha256: String,
}

/// Lists all files of a folder with their sizes and SHA-256 in `manifest.json`, and that file's own
/// SHA-256 in `manifest.sha256`; every file is synced.
///
/// # Errors
/// [`FileError::Io`] with the path.
pub fn seal(dir: &Path) -> Result<(), FileError> {
    let mut paths = Vec::new();
    list(dir, Path::new(""), &mut paths)?;
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let at = dir.join(&path);
        let (bytes, sha256) = digest(&at)?;
        sync(&at)?;
        files.push(Entry {
            path,
            bytes,
            sha256,
        });
    }
    let manifest = Manifest { version: 1, files };
    let path = dir.join(MANIFEST);
    let mut text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| FileError::damaged(&path, error.to_string()))?;
    text.push('\n');
    write(&path, text.as_bytes())?;
    write(&dir.join(SEAL), seal_of(text.as_bytes()).as_bytes())
}

/// Checks a sealed folder: every listed file is there with the size and the checksum it had.
///
/// # Errors
/// [`FileError::Damaged`] names the first file that is not as it was written.
pub fn verify(dir: &Path) -> Result<(), FileError> {
    let path = dir.join(MANIFEST);
    let text = read(&path)?;
    let seal = dir.join(SEAL);
    if read(&seal)? != seal_of(&text).as_bytes() {
        let message = format!("damaged: {MANIFEST} and {SEAL} do not fit together");
        return Err(FileError::damaged(dir, message));
    }
    let manifest: Manifest =
        from_json(&text).map_err(|error| FileError::damaged(&path, format!("damaged: {error}")))?;
    for entry in &manifest.files {
        let relative = Path::new(&entry.path);
        let plain = |part| matches!(part, Component::Normal(_));
        if !relative.components().all(plain) {
            let message = format!("lists `{}`, which is not a file of its folder", entry.path);
            return Err(FileError::damaged(&path, message));
        }
        let at = dir.join(relative);
        let (bytes, sha256) = digest(&at)?;
        if bytes != entry.bytes {
            let message = format!("damaged: {bytes} bytes, {} were written", entry.bytes);
            return Err(FileError::damaged(&at, message));
        }
        if sha256 != entry.sha256 {
            let message = format!("damaged: SHA-256 {sha256}, {} was written", entry.sha256);
            return Err(FileError::damaged(&at, message));
        }
    }
    Ok(())
}

fn seal_of(manifest: &[u8]) -> String {
    format!("{:x}  {MANIFEST}\n", Sha256::digest(manifest))
}

fn list(root: &Path, below: &Path, out: &mut Vec<String>) -> Result<(), FileError> {
    let dir = root.join(below);
    let failed = |source| FileError::io(&dir, source);
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = below.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            list(root, &path, out)?;
            sync(&root.join(&path))?;
        } else {
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            out.push(parts.join("/"));
        }
    }
    Ok(())
}

fn digest(path: &Path) -> Result<(u64, String), FileError> {
    let failed = |source| FileError::io(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok((bytes, format!("{:x}", hash.finalize())));
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::io(path, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    fs::write(path, bytes).map_err(|source| FileError::io(path, source))?;
    sync(path)
}

/// Folders cannot be opened everywhere; where they can they are synced like files.
fn sync(path: &Path) -> Result<(), FileError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(_) if path.is_dir() => Ok(()),
        result => result.map_err(|source| FileError::io(path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_byte_of_any_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        fs::create_dir(dir.join("moments")).unwrap();
        fs::write(dir.join("state.json"), "{\"step\": 7}").unwrap();
        fs::write(dir.join("moments/a.bin"), [1, 2, 3, 4]).unwrap();
        seal(dir).unwrap();
        verify(dir).unwrap();
        for name in ["state.json", "moments/a.bin", MANIFEST, SEAL] {
            let path = dir.join(name);
            let good = fs::read(&path).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&path, bad).unwrap();
                let error = verify(dir).unwrap_err().to_string();
                let named = error.contains(name.rsplit('/').next().unwrap());
                assert!(
                    named && error.contains("damaged"),
                    "{name}, byte {at}: {error}"
                );
            }
            fs::write(&path, &good[1..]).unwrap();
            assert!(verify(dir).is_err(), "{name} cut");
            fs::remove_file(&path).unwrap();
            assert!(
                verify(dir).unwrap_err().to_string().contains(name),
                "{name} gone"
            );
            fs::write(&path, good).unwrap();
        }
        verify(dir).unwrap();
    }
}
