//! `POST /ingest`: who may, how much, and what is said.
//!
//! Any page in a browser on this machine can post to a loopback port; browsers say `Origin` or `Sec-Fetch-Site` then, and
//! programs do not. So whoever says one of them is refused, and a token can be asked for besides. What a form sends is no
//! reason by itself, for `curl --data-binary` calls its lines that, too; only a form in parts holds no lines. Memory is given for bytes that came, not for lengths
//! that were promised: a crowd of slow senders holds what it sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{Published, response_with};
use crate::limits;

/// From the head to the last byte of the body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Memory for bodies is counted in these.
const PIECE_BYTES: usize = 16 << 10;

/// A body that was taken whole.
#[derive(Debug)]
pub struct Posted {
    pub body: Vec<u8>,
    pub is_gzip: bool,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// JSON.
    pub body: String,
    /// In seconds: when it is worth another try.
    pub retry_after: Option<u32>,
}

impl Reply {
    pub fn refused(code: u16, why: &str) -> Reply {
        Reply { code, body: serde_json::json!({ "error": why }).to_string(), retry_after: None }
    }

    /// Come again: nothing is wrong with the request.
    pub fn later(why: &str) -> Reply {
        Reply { retry_after: Some(1), ..Reply::refused(503, why) }
    }

    pub(super) fn text(&self) -> String {
        let more = match (self.code, self.retry_after) {
            (401, _) => "WWW-Authenticate: Bearer\r\n".to_string(),
            (_, Some(seconds)) => format!("Retry-After: {seconds}\r\n"),
            (_, None) => String::new(),
        };
        response_with(self.code, "application/json", &more, &format!("{}\n", self.body))
    }
}

/// What is done with a body.
pub type Take = Box<dyn Fn(Posted) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// Where lines come in.
pub struct Door {
    token: Option<String>,
    take: Take,
    held: Semaphore,
    waiting: Semaphore,
}

/// Whether a request is for this door.
pub(super) fn is_for(head: &[u8]) -> bool {
    head.strip_prefix(b"POST /ingest").is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'?')))
}

impl Door {
    /// `token`: what a sender must know.
    pub fn new(token: Option<String>, take: Take) -> Door {
        let held = Semaphore::new(limits::INGEST_HELD_BYTES_MAX / PIECE_BYTES);
        Door { token, take, held, waiting: Semaphore::new(limits::INGEST_WAITING_MAX) }
    }

    /// Reads the body whose head is there, and `rest` of it, and says what became of it.
    pub(super) async fn answer(
        &self,
        stream: &mut TcpStream,
        head: &[u8],
        rest: &[u8],
        known: &Published,
        stays: &AtomicBool,
    ) -> io::Result<Reply> {
        let asked = match Asked::of(head, self.token.as_deref()) {
            Ok(asked) => asked,
            Err(reply) => return Ok(reply),
        };
        if !known.ready {
            return Ok(Reply::later("not ready yet"));
        }
        if let Some(trouble) = known.reasons.iter().find(|it| it.starts_with("storage")) {
            return Ok(Reply::later(trouble));
        }
        if asked.expects {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let Ok(read) = timeout(BODY_PATIENCE, self.read(stream, asked.len, rest)).await else {
            return Ok(Reply::refused(408, "the body did not come"));
        };
        let Some((body, mut held)) = read? else { return Ok(Reply::later("too many bodies are under way")) };
        if asked.is_gzip {
            // What is in it is not known before it is unpacked.
            let most = (limits::INGEST_BODY_BYTES_MAX / PIECE_BYTES) as u32;
            let Ok(Ok(more)) = timeout(BODY_PATIENCE, self.held.acquire_many(most)).await else {
                return Ok(Reply::later("too many bodies are under way"));
            };
            held.merge(more);
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(Reply::later("too many bodies are under way")) };
        stays.store(true, Ordering::Relaxed);
        let reply = (self.take)(Posted { body, is_gzip: asked.is_gzip }).await;
        stays.store(false, Ordering::Relaxed);
        Ok(reply)
    }

    /// The body; None: there is no memory for it.
    async fn read(
        &self,
        stream: &mut TcpStream,
        len: usize,
        rest: &[u8],
    ) -> io::Result<Option<(Vec<u8>, SemaphorePermit<'_>)>> {
        let mut body = rest[..rest.len().min(len)].to_vec();
        let Ok(mut held) = self.held.try_acquire_many(1 + (body.len() / PIECE_BYTES) as u32) else { return Ok(None) };
        let mut stream = stream.take((len - body.len()) as u64);
        while body.len() < len {
            if body.len() / PIECE_BYTES >= held.num_permits() {
                let Ok(more) = self.held.try_acquire() else { return Ok(None) };
                held.merge(more);
            }
            let most = (held.num_permits() + 1) * PIECE_BYTES - body.len();
            body.reserve(most.min(len - body.len()));
            if stream.read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some((body, held)))
    }
}

/// What a head asks for, where it may.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    len: usize,
    is_gzip: bool,
    /// It waits to be told to go on.
    expects: bool,
}

impl Asked {
    fn of(head: &[u8], token: Option<&str>) -> Result<Asked, Reply> {
        let refused = |code, why: &str| Err(Reply::refused(code, why));
        let text = String::from_utf8_lossy(head);
        let (mut len, mut is_gzip, mut expects, mut said) = (None, false, false, None);
        for line in text.lines().skip(1).filter(|it| !it.is_empty()) {
            let Some((name, value)) = line.split_once(':').filter(|it| !it.0.contains([' ', '\t'])) else {
                return refused(400, "a header line makes no sense");
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "origin" | "sec-fetch-site" => return refused(403, "lines are not taken from web pages"),
                "content-type" if value.to_ascii_lowercase().starts_with("multipart/") => {
                    return refused(415, "send lines, and no form");
                }
                "transfer-encoding" => return refused(411, "send Content-Length"),
                "content-length" if len.is_some() => return refused(400, "Content-Length stands twice"),
                "content-length" if !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit()) => {
                    len = Some(value.parse().unwrap_or(usize::MAX));
                }
                "content-length" => return refused(400, "Content-Length is no number"),
                "content-encoding" => match value.to_ascii_lowercase().as_str() {
                    "" | "identity" => (),
                    "gzip" | "x-gzip" if !is_gzip => is_gzip = true,
                    _ => return refused(415, "send lines as they are, or gzip"),
                },
                "authorization" => said = Some(value.to_string()),
                "expect" => expects = value.eq_ignore_ascii_case("100-continue"),
                _ => (),
            }
        }
        if let Some(token) = token {
            let said = said.as_deref().and_then(|it| it.split_once(' '));
            let said = said.filter(|it| it.0.eq_ignore_ascii_case("bearer")).map_or("", |it| it.1.trim());
            if !is_same(said.as_bytes(), token.as_bytes()) {
                return refused(401, "send Authorization: Bearer and the token");
            }
        }
        match len {
            None => refused(411, "send Content-Length"),
            Some(len) if len > limits::INGEST_BODY_BYTES_MAX => {
                refused(413, &format!("send at most {} bytes at once", limits::INGEST_BODY_BYTES_MAX))
            }
            Some(len) => Ok(Asked { len, is_gzip, expects }),
        }
    }
}

/// Takes as long for a wrong beginning as for a wrong end.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str, token: Option<&str>, expected: Result<(usize, bool), u16>) {
        let head = format!("POST /ingest HTTP/1.1\r\n{lines}\r\n");
        assert!(is_for(head.as_bytes()));
        let found = Asked::of(head.as_bytes(), token).map(|it| (it.len, it.is_gzip)).map_err(|it| it.code);
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn who_may_and_how_much() {
        check("Content-Length: 12\r\n", None, Ok((12, false)));
        check("content-length:12\r\nContent-Encoding: GZIP\r\n", None, Ok((12, true)));
        check("", None, Err(411));
        check("Content-Length: 12\r\nTransfer-Encoding: chunked\r\n", None, Err(411));
        check("Content-Length: 12\r\nContent-Length: 13\r\n", None, Err(400));
        check("Content-Length: -1\r\n", None, Err(400));
        check("Content-Length: 12\r\n X: folded\r\n", None, Err(400));
        check("Content-Length: 99999999999999999999999\r\n", None, Err(413));
        check("Content-Length: 12\r\nContent-Encoding: br\r\n", None, Err(415));
        check("Content-Length: 12\r\nOrigin: http://evil.test\r\n", None, Err(403));
        check("Content-Length: 12\r\nSec-Fetch-Site: cross-site\r\n", None, Err(403));
        check("Content-Type: Multipart/form-data; boundary=x\r\nContent-Length: 12\r\n", None, Err(415));
        check("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n", None, Ok((12, false)));
        check("Content-Length: 12\r\n", Some("k3y"), Err(401));
        check("Content-Length: 12\r\nAuthorization: Bearer k3\r\n", Some("k3y"), Err(401));
        check("Content-Length: 12\r\nAuthorization: Basic k3y\r\n", Some("k3y"), Err(401));
        check("Content-Length: 12\r\nAuthorization: bearer k3y\r\n", Some("k3y"), Ok((12, false)));
        assert!(is_for(b"POST /ingest?x HTTP/1.1") && !is_for(b"POST /ingests HTTP/1.1") && !is_for(b"GET /ingest "));
    }

    #[test]
    fn what_is_said() {
        let text = Reply::later("storage").text();
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: 1\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n{\"error\":\"storage\"}\n"), "{text}");
        assert!(Reply::refused(401, "x").text().contains("\r\nWWW-Authenticate: Bearer\r\n"));
    }
}
