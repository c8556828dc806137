//! From what a model is called to its folder.

use std::path::{Path, PathBuf};

use super::hub_name::HubName;
use super::hub_settings::HubSettings;
use super::snapshot::{CachedModel, Found};
use crate::error::Error;

impl HubSettings {
    /// The folder of a model: the path itself where there is such a folder, or else that of the
    /// model `ORG/NAME` or `ORG/NAME@REVISION` in the hub's cache, `main` where no revision is named.
    ///
    /// What the cache has whole is used as it is, and the hub is not asked whether a branch has
    /// moved since. With the feature `hub` what is missing is downloaded first: the files that a
    /// model is loaded from, and no others.
    ///
    /// # Errors
    /// [`Error::Hub`] with the name, for a model that the cache does not hold and that is not
    /// downloaded: what is missing and what to do. A path that can be no such name is returned as it
    /// is, and loading it tells what is wrong.
    pub fn model_folder(&self, path: &Path) -> Result<PathBuf, Error> {
        if path.exists() {
            return Ok(path.to_owned());
        }
        let Some(name) = HubName::parse(path) else {
            return Ok(path.to_owned());
        };
        let Some(cache) = self.cache() else {
            let message = "there is no folder of this name, and no cache of the hub: set HF_HOME";
            return Err(Error::hub(&name, message));
        };
        let model = CachedModel::new(&cache, &name);
        let found = model.find();
        if let Found::Whole(folder) = found {
            return Ok(folder);
        }
        self.complete(&name, &model, found)
    }

    #[cfg(feature = "hub")]
    fn complete(
        &self,
        name: &HubName,
        model: &CachedModel,
        found: Found,
    ) -> Result<PathBuf, Error> {
        if self.offline {
            return as_found(
                name,
                model,
                found,
                "HF_HUB_OFFLINE is set: unset it to download it",
            );
        }
        match (super::download::download(self, name, model), found) {
            // What is there may do, as it did before.
            (Err(error @ Error::Hub { .. }), Found::Usable(folder)) => {
                visrl_core::warn_once(format!("{error}; the files in the cache are used"));
                Ok(folder)
            }
            (downloaded, _) => downloaded,
        }
    }

    #[cfg(not(feature = "hub"))]
    fn complete(
        &self,
        name: &HubName,
        model: &CachedModel,
        found: Found,
    ) -> Result<PathBuf, Error> {
        let advice = format!(
            "download it with `hf download {}`, or build with `--features visrl/hub`, which does it",
            name.repo
        );
        as_found(name, model, found, &advice)
    }
}

/// What is in the cache, if that is enough.
fn as_found(
    name: &HubName,
    model: &CachedModel,
    found: Found,
    advice: &str,
) -> Result<PathBuf, Error> {
    match found {
        Found::Whole(folder) | Found::Usable(folder) => Ok(folder),
        Found::Lacks(file) => {
            let cache = model.folder.display();
            let message = format!(
                "there is no folder of this name, and the hub's cache does not hold the model \
                 ({cache} lacks {file}): {advice}"
            );
            Err(Error::hub(name, message))
        }
    }
}
