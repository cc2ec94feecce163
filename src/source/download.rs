//! One file from the network to the disk.
//!
//! Nothing that comes over the wire is believed for its own sake: it is bounded, hashed on its way, and only a body that ends
//! where it should is whole. Plain HTTP is spoken to this machine alone (a mirror, a test); proxies of the environment are used.

use std::io::{self, Write};
use std::time::Duration;

use reqwest::Url;
use ring::digest::{Context, Digest, SHA512};

use crate::{limits, tls};

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("`{0}` is no address to download from: write https://…")]
    Address(String),
    #[error("{0} cannot be reached ({1})")]
    Unreachable(String, &'static str),
    #[error("{0} answered {1}")]
    Refused(String, u16),
    #[error("{0} is longer than {1} bytes")]
    TooLong(String, u64),
    #[error("{0} broke off")]
    BrokeOff(String),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// Somebody who downloads.
pub struct Downloader(reqwest::Client);

impl Downloader {
    /// `ca`: authorities of the operator's own, as PEM. The error says what about them is wrong.
    pub fn new(ca: Option<&[u8]>) -> Result<Downloader, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(ca)?)
            .user_agent(concat!("tripline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::custom(|attempt| match may_ask(attempt.url()) {
                true if attempt.previous().len() < 5 => attempt.follow(),
                _ => attempt.stop(),
            }))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .build();
        client.map(Downloader).map_err(|_| "the HTTP client cannot be set up".into())
    }

    /// Writes what the address gives to `out`, at most `bytes_max`; returns its SHA-512. `progress` hears of the bytes so far and,
    /// where the server said so, of all there will be.
    pub async fn fetch(
        &self,
        address: &str,
        bytes_max: u64,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Digest, DownloadError> {
        let url = Url::parse(address).ok().filter(may_ask).ok_or_else(|| DownloadError::Address(address.into()))?;
        let sent = self.0.get(url).send().await;
        let mut answer = sent.map_err(|it| DownloadError::Unreachable(address.into(), reason(&it)))?;
        if !answer.status().is_success() {
            return Err(DownloadError::Refused(address.into(), answer.status().as_u16()));
        }
        let total = answer.content_length();
        let mut hash = Context::new(&SHA512);
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await.map_err(|_| DownloadError::BrokeOff(address.into()))? {
            bytes += chunk.len() as u64;
            if bytes > bytes_max {
                return Err(DownloadError::TooLong(address.into(), bytes_max));
            }
            hash.update(&chunk);
            out.write_all(&chunk)?;
            progress(bytes, total);
        }
        Ok(hash.finish())
    }

    /// A short text, such as what a registry says of a package.
    pub async fn text(&self, address: &str) -> Result<String, DownloadError> {
        let mut bytes = Vec::new();
        self.fetch(address, limits::REGISTRY_ANSWER_BYTES_MAX, &mut bytes, &mut |_, _| ()).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Whether what comes from there was not written by somebody on the way.
fn may_ask(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
        _ => false,
    }
}

fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection, or a certificate that is not trusted"
    } else {
        "no HTTP answer"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_could_change_on_the_way_is_asked_for() {
        let check = |url: &str, expected: bool| assert_eq!(may_ask(&Url::parse(url).unwrap()), expected, "{url}");
        check("https://registry.example/x", true);
        check("http://registry.example/x", false);
        check("http://127.0.0.1:8080/x", true);
        check("http://[::1]:8080/x", true);
        check("http://127.0.0.1.example/x", false);
        check("file:///etc/passwd", false);
    }
}
