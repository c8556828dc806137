//! Downloading what the cache lacks of a model.
//!
//! Names and places are those of the crate `hf-hub`. Its own downloader has no time-outs and takes
//! none, waits five seconds for another process and then gives up, checks neither length nor
//! checksum, and panics on headers that it does not expect; so bytes are moved here, by the HTTP
//! client that it uses, too.

mod blob;
mod client;
mod snapshot_files;

pub(super) use snapshot_files::download;
