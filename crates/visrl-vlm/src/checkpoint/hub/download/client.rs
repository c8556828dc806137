//! Requests to the hub.

use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::header::HeaderMap;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use crate::checkpoint::hub::hub_name::{HubName, is_part};
use crate::checkpoint::hub::hub_settings::HubSettings;
use crate::error::Error;

/// Redirects that are followed from a file's address to its description.
const REDIRECTS: usize = 5;

/// What the hub says of a file.
#[derive(Clone, Debug)]
pub(super) struct FileInfo {
    /// The commit that the revision is at.
    pub(super) commit: String,
    /// The name of the contents: their SHA-256 for large files.
    pub(super) etag: String,
    /// The bytes, where it says them.
    pub(super) size: Option<u64>,
}

/// Asks for the files of one model.
pub(super) struct Client<'a> {
    settings: &'a HubSettings,
    pub(super) name: &'a HubName,
    /// Follows redirects; the token goes to the hub alone.
    following: Agent,
    /// Does not.
    plain: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings, name: &'a HubName) -> Self {
        let agent = |redirects: u32| -> Agent {
            let patience = Some(settings.patience);
            Agent::config_builder()
                .http_status_as_error(false)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .max_redirects(redirects)
                .user_agent(concat!("visrl/", env!("CARGO_PKG_VERSION")))
                // Lengths are those of the files.
                .accept_encoding("identity")
                .timeout_resolve(patience)
                .timeout_connect(patience)
                .timeout_send_request(patience)
                .timeout_recv_response(patience)
                .timeout_per_read(patience)
                .build()
                .into()
        };
        Self {
            settings,
            name,
            following: agent(10),
            plain: agent(0),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.settings.patience
    }

    pub(super) fn shows_progress(&self) -> bool {
        self.settings.progress
    }

    fn address(&self, file: &str) -> String {
        let HubName { repo, revision } = self.name;
        let revision = revision.replace('/', "%2F");
        format!(
            "{}/{repo}/resolve/{revision}/{file}",
            self.settings.endpoint
        )
    }

    /// What the hub says of a file; nothing for one that the model does not have.
    pub(super) fn info(&self, file: &str) -> Result<Option<FileInfo>, Error> {
        let mut address = self.address(file);
        for _ in 0..REDIRECTS {
            let response = self.head(&address)?;
            let (status, headers) = (response.status(), response.headers());
            if status == StatusCode::NOT_FOUND && is_missing_entry(headers) {
                return Ok(None);
            }
            let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
            if status.is_redirection() {
                // What lies elsewhere is described here; a renamed model is described there.
                let to = text(headers, "location").unwrap_or_default();
                match self.relative(&address, to) {
                    Some(moved) => address = moved,
                    None if etag.is_some() => return self.described(file, headers, etag).map(Some),
                    None => address = to.to_owned(),
                }
                continue;
            }
            if !status.is_success() {
                return Err(self.refused(file, status, headers));
            }
            return self.described(file, headers, etag).map(Some);
        }
        Err(self.fault(file, "is redirected again and again"))
    }

    fn head(&self, address: &str) -> Result<Response<Body>, Error> {
        let with_token = |request| self.with_token(address, request);
        let response = with_token(self.plain.head(address)).call();
        let response = response.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                let request = with_token(self.plain.get(address)).header("Range", "bytes=0-0");
                request.call().map_err(|error| self.unreachable(&error))
            }
            _ => Ok(response),
        }
    }

    /// The address that a redirect within a host leads to.
    fn relative(&self, from: &str, to: &str) -> Option<String> {
        let rest = to.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        let from: Uri = from.parse().ok()?;
        Some(format!(
            "{}://{}/{rest}",
            from.scheme_str()?,
            from.authority()?
        ))
    }

    fn described(
        &self,
        file: &str,
        headers: &HeaderMap,
        etag: Option<&str>,
    ) -> Result<FileInfo, Error> {
        let plain = |value: Option<&str>, header: &str| {
            let value = value.unwrap_or_default().trim_start_matches("W/");
            let value = value.trim_matches('"').to_owned();
            match is_part(&value) {
                true => Ok(value),
                false => Err(self.fault(
                    file,
                    &format!(
                        "is answered without a usable `{header}`: {} is no hub",
                        self.settings.endpoint
                    ),
                )),
            }
        };
        let number = |name: &str| text(headers, name).and_then(|text| text.parse().ok());
        // Of a range the whole is told behind a stroke.
        let of_range = || {
            text(headers, "content-range")?
                .rsplit_once('/')?
                .1
                .parse()
                .ok()
        };
        let linked = number("x-linked-size");
        Ok(FileInfo {
            commit: plain(text(headers, "x-repo-commit"), "x-repo-commit")?,
            etag: plain(etag, "etag")?,
            size: linked
                .or_else(of_range)
                .or_else(|| match text(headers, "location") {
                    Some(_) => None,
                    None => number("content-length"),
                }),
        })
    }

    /// The contents of a file from a byte on, or whole if the server does not give parts.
    pub(super) fn contents(&self, file: &str, from: u64) -> Result<Response<Body>, ureq::Error> {
        let address = self.address(file);
        let request = self.with_token(&address, self.following.get(&address));
        match from {
            0 => request.call(),
            from => request.header("Range", format!("bytes={from}-")).call(),
        }
    }

    fn with_token<B>(
        &self,
        address: &str,
        request: ureq::RequestBuilder<B>,
    ) -> ureq::RequestBuilder<B> {
        match &self.settings.token {
            Some(token) if address.starts_with(&self.settings.endpoint) => {
                request.header("Authorization", format!("Bearer {token}"))
            }
            _ => request,
        }
    }

    /// What is wrong where the hub does not give a file.
    pub(super) fn refused(&self, file: &str, status: StatusCode, headers: &HeaderMap) -> Error {
        let endpoint = &self.settings.endpoint;
        let HubName { repo, revision } = self.name;
        let code = text(headers, "x-error-code").unwrap_or_default();
        let message = match (status.as_u16(), code) {
            (_, "GatedRepo") => format!(
                "is gated: accept its terms at {endpoint}/{repo}, and set HF_TOKEN to a token of \
                 that account"
            ),
            (401 | 403, _) => {
                let token = match self.settings.token {
                    Some(_) => "the token may not read it",
                    None => "there is no token (HF_TOKEN)",
                };
                format!(
                    "{endpoint} gives it to nobody it does not know ({status}): the model is \
                     private or gated, or there is none of this name, and {token}"
                )
            }
            (404, "RevisionNotFound") => format!("has no revision `{revision}` at {endpoint}"),
            (404, _) => format!(
                "there is no folder of this name, and no such model at {endpoint} (404 for {file})"
            ),
            (429, _) => format!("{endpoint} was asked too often (429): try again later"),
            _ => format!("{endpoint} answers {status} for {file}"),
        };
        Error::hub(self.name, message)
    }

    /// What is wrong where a server cannot be asked.
    pub(super) fn unreachable(&self, error: &ureq::Error) -> Error {
        let endpoint = &self.settings.endpoint;
        let message = match error {
            ureq::Error::Timeout(_) => {
                let seconds = self.settings.patience.as_secs();
                format!("{endpoint} sent nothing for {seconds} s (HF_HUB_DOWNLOAD_TIMEOUT)")
            }
            error => format!(
                "there is no folder of this name, and {endpoint} cannot be reached ({error}); \
                 without a network set HF_HUB_OFFLINE=1 and use what the cache holds"
            ),
        };
        Error::hub(self.name, message)
    }

    /// What is wrong with a file.
    pub(super) fn fault(&self, file: &str, message: &str) -> Error {
        Error::hub(self.name, format!("{file} {message}"))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a 404 is of the file alone.
fn is_missing_entry(headers: &HeaderMap) -> bool {
    text(headers, "x-error-code").is_none_or(|code| code == "EntryNotFound")
}
