//! Models by their names on the Hugging Face hub: found in the hub's cache and, with the feature
//! `hub`, downloaded into it.
//!
//! | file | what stands there |
//! |---|---|
//! | `hub_name` | `ORG/NAME@REVISION` |
//! | `hub_settings` | what the environment says: cache, token, endpoint, offline |
//! | `snapshot` | a revision in the cache, and what it lacks |
//! | `model_folder` | from a name to a folder |
//! | `download` | requests, blobs, and the files that a model needs |

#[cfg(feature = "hub")]
mod download;
mod hub_name;
mod hub_settings;
mod model_folder;
mod snapshot;

pub use hub_settings::HubSettings;
