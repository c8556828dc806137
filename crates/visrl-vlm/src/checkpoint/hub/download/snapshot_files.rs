//! The files of a model, and their links.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use visrl_core::files::write_file;

use super::blob::blob;
use super::client::Client;
use crate::checkpoint::checkpoint_files::FILES;
use crate::checkpoint::hub::hub_name::{HubName, is_part};
use crate::checkpoint::hub::hub_settings::HubSettings;
use crate::checkpoint::hub::snapshot::{CONFIG, CachedModel};
use crate::checkpoint::weights::weight_files::{INDEX, SINGLE, WeightFiles};
use crate::error::Error;

/// Downloads what the cache lacks of a model's revision, and names its folder. The reference of the
/// revision is written when all files are there.
pub(in crate::checkpoint::hub) fn download(
    settings: &HubSettings,
    name: &HubName,
    model: &CachedModel,
) -> Result<PathBuf, Error> {
    let mut files = Files {
        client: Client::new(settings, name),
        model,
        commit: None,
    };
    if !files.get(CONFIG)? {
        return Err(files
            .client
            .fault(CONFIG, "is missing: this is no model of transformers'"));
    }
    for file in FILES.iter().filter(|file| **file != CONFIG) {
        files.get(file)?;
    }
    if !files.get(SINGLE)? {
        if !files.get(INDEX)? {
            let message = "is missing, and so are shards: only safetensors files are read";
            return Err(files.client.fault(SINGLE, message));
        }
        let index = files.snapshot().join(INDEX);
        for shard in WeightFiles::read_index(&index)?.names {
            if !is_part(&shard) || !files.get(&shard)? {
                return Err(files
                    .client
                    .fault(&shard, "is in the index and not at the hub"));
            }
        }
    }
    let commit = files.commit.clone().unwrap_or_default();
    if commit != name.revision {
        write_file(&model.reference(), commit.as_bytes())?;
    }
    Ok(files.snapshot())
}

struct Files<'a> {
    client: Client<'a>,
    model: &'a CachedModel,
    /// Told with the first file.
    commit: Option<String>,
}

impl Files<'_> {
    fn snapshot(&self) -> PathBuf {
        self.model
            .snapshot(self.commit.as_deref().unwrap_or_default())
    }

    /// Puts a file into the snapshot; `false` for one that the model does not have, which is noted
    /// in the cache.
    fn get(&mut self, file: &str) -> Result<bool, Error> {
        if let Some(commit) = &self.commit {
            if self.model.snapshot(commit).join(file).exists() {
                return Ok(true);
            }
            if self.model.absent(commit).join(file).exists() {
                return Ok(false);
            }
        }
        let Some(info) = self.client.info(file)? else {
            if let Some(commit) = &self.commit {
                write_file(&self.model.absent(commit).join(file), b"")?;
            }
            return Ok(false);
        };
        match &self.commit {
            None => self.commit = Some(info.commit.clone()),
            Some(commit) if *commit != info.commit => {
                let message = "is of a newer commit: the model was changed meanwhile; run again";
                return Err(self.client.fault(file, message));
            }
            Some(_) => {}
        }
        let link = self.snapshot().join(file);
        if !link.exists() {
            let blob = blob(&self.client, &self.model.folder, file, &info)?;
            let linked = make_link(&blob, &link);
            linked.map_err(|source| Error::io(&link, source))?;
        }
        Ok(true)
    }
}

/// Links a snapshot's file to its contents, `../../blobs/ETAG`; where there are no links the
/// contents are moved there, as the hub's own tools do.
fn make_link(blob: &Path, link: &Path) -> io::Result<()> {
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    let to = Path::new("../../blobs").join(blob.file_name().unwrap_or_default());
    match symlink(&to, link) {
        // Another process was quicker, or a link of old leads nowhere.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match link.exists() {
            true => Ok(()),
            false => fs::remove_file(link).and_then(|()| symlink(&to, link)),
        },
        Err(_) => fs::rename(blob, link),
        Ok(()) => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(to: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, link)
}

#[cfg(windows)]
fn symlink(to: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
