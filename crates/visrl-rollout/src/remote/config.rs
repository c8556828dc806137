//! Where a server is, and how long it is waited for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use visrl_vlm::SaveDtype;

use crate::error::Error;

/// A server that samples, and the folder that weights are handed over in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// Its address, such as `http://localhost:8000`. A key that it asks for is taken from the
    /// environment variable `VLLM_API_KEY`.
    pub url: String,
    /// The name that it serves the model under; by default the only one that it serves.
    pub model: Option<String>,
    /// The folder, seen from here, below which weights are written (in `visrl-policy`); it must be
    /// set, and the server must see it, too.
    pub weights: PathBuf,
    /// The same folder as the server sees it, where that is another path.
    pub weights_on_server: Option<PathBuf>,
    /// The number format of the weights that are handed over. Default f32; the server keeps them in
    /// its own.
    pub dtype: SaveDtype,
    /// The most requests, of one completion each, that are under way at once. Default 64.
    pub max_requests: usize,
    /// Seconds that an answer may take from its request to its end. Default 600.
    pub timeout: f64,
    /// Seconds that a server which cannot be reached or says that it is busy is waited for before
    /// the requests are given up. Default 300.
    pub patience: f64,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            url: "http://localhost:8000".to_owned(),
            model: None,
            weights: PathBuf::new(),
            weights_on_server: None,
            dtype: SaveDtype::F32,
            max_requests: 64,
            timeout: 600.0,
            patience: 300.0,
        }
    }
}

impl RemoteConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Params`] with the first that cannot be used.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |field, good: bool, message: String| match good {
            true => Ok(()),
            false => Err(Error::Params { field, message }),
        };
        let (url, requests) = (&self.url, self.max_requests);
        let host = ["http://", "https://"].map(|scheme| url.strip_prefix(scheme));
        let known = host.into_iter().flatten().any(|rest| !rest.is_empty());
        let message = format!("is `{url}`, expected http://HOST:PORT or https://HOST:PORT");
        check("url", known, message)?;
        let named = !self.weights.as_os_str().is_empty();
        check("weights", named, "is empty, expected a folder".into())?;
        let message = format!("is {requests}, expected 1 to 4096");
        check("max_requests", (1..=4096).contains(&requests), message)?;
        for (field, seconds) in [("timeout", self.timeout), ("patience", self.patience)] {
            let message = format!("is {seconds}, expected 1 to 86400 seconds");
            check(field, (1.0..=86_400.0).contains(&seconds), message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let good = || RemoteConfig {
            weights: "a".into(),
            ..RemoteConfig::default()
        };
        assert!(good().validate().is_ok());
        type Change = fn(&mut RemoteConfig);
        let faults: [(&str, Change); 7] = [
            ("url", |config| config.url = "localhost:8000".into()),
            ("url", |config| config.url = "http://".into()),
            ("weights", |config| config.weights = PathBuf::new()),
            ("max_requests", |config| config.max_requests = 0),
            ("timeout", |config| config.timeout = f64::NAN),
            ("timeout", |config| config.timeout = 0.0),
            ("patience", |config| config.patience = 1e9),
        ];
        for (expected, change) in faults {
            let mut config = good();
            change(&mut config);
            match config.validate() {
                Err(Error::Params { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
