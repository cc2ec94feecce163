//! The listener for machines: `/health`, `/ready`, `/metrics`, and lines by `POST /ingest`.
//!
//! It must answer when everything else is in trouble, so it asks nobody: the service publishes what there is to know, and a
//! request copies it. HTTP/1.1, one request a connection, with limits on everything a stranger can stretch.

mod ingest;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::limits;
pub use ingest::{Door, Posted, Reply, Take};

/// What there is to know at the moment.
#[derive(Clone, Default, Debug)]
pub struct Published {
    pub ready: bool,
    /// Why the service is degraded; empty when all is well.
    pub reasons: Vec<String>,
    /// In the text format of Prometheus.
    pub metrics: String,
}

/// From connecting to the end of the request's head, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted. One more is tried again by its client a second later, which is long for a question
/// about health.
const BACKLOG: u32 = 4096;
/// Of what a client still sends after its answer, so much is read and thrown away.
const REST_BYTES_MAX: usize = 16 << 20;

/// Why there is no listener.
#[derive(Debug)]
pub enum NoListener {
    /// What was asked for is no address that we serve.
    Refused(String),
    /// The address is good, and the system does not give it.
    Failed(std::io::Error),
}

impl From<std::io::Error> for NoListener {
    fn from(error: std::io::Error) -> NoListener {
        NoListener::Failed(error)
    }
}

/// Opens the listener. Only loopback: there is no authentication.
pub async fn bind(listen: &str) -> Result<TcpListener, NoListener> {
    let address = tokio::net::lookup_host(listen).await?.next();
    let address = address.ok_or_else(|| NoListener::Refused(format!("web {listen}: is no address")))?;
    if !address.ip().is_loopback() {
        let problem = format!("web {listen}: only loopback addresses, such as 127.0.0.1:7172, are served");
        return Err(NoListener::Refused(problem));
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(BACKLOG)?)
}

/// Answers until the task is dropped. Where all places are taken, the connection that has been here longest gives up its own:
/// who means it sends his request at once, and a crowd that only holds on cannot keep him out. Only a body that was taken
/// whole keeps its place: its sender would send it again.
/// `hosts`: names by which we may be asked for, besides those that nobody else could have given us.
pub async fn serve(
    listener: TcpListener,
    published: watch::Receiver<Arc<Published>>,
    door: Option<Door>,
    hosts: Vec<String>,
) {
    let hosts: Arc<[String]> = hosts.into();
    let mut tasks = tokio::task::JoinSet::new();
    let mut oldest_first: VecDeque<(AbortHandle, Arc<AtomicBool>)> = VecDeque::new();
    let door = door.map(Arc::new);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while tasks.try_join_next().is_some() {}
        oldest_first.retain(|it| !it.0.is_finished());
        if oldest_first.len() >= limits::WEB_CONNECTIONS_MAX + limits::INGEST_WAITING_MAX
            && let Some(oldest) = oldest_first.iter().position(|it| !it.1.load(Ordering::Relaxed))
            && let Some((oldest, _)) = oldest_first.remove(oldest)
        {
            oldest.abort();
        }
        let (published, door, hosts) = (published.clone(), door.clone(), hosts.clone());
        let stays = Arc::new(AtomicBool::new(false));
        let task = tasks.spawn({
            let stays = stays.clone();
            async move {
                // A client that is too slow, or gone, is its own problem.
                let _ = answer(stream, published, door, &hosts, &stays).await;
            }
        });
        oldest_first.push_back((task, stays));
        // Its request is often there already: whoever came must have had a turn before others take his place.
        tokio::task::yield_now().await;
    }
}

async fn answer(
    mut stream: TcpStream,
    published: watch::Receiver<Arc<Published>>,
    door: Option<Arc<Door>>,
    hosts: &[String],
    stays: &AtomicBool,
) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let mut end = None;
    let read = timeout(PATIENCE, async {
        while end.is_none() && head.len() <= limits::WEB_HEAD_BYTES_MAX {
            let before = head.len();
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
            let from = before.saturating_sub(3);
            end = head[from..].windows(4).position(|it| it == b"\r\n\r\n").map(|it| from + it + 4);
        }
        std::io::Result::Ok(())
    });
    let read = read.await;
    let known = published.borrow().clone();
    let reply = match (read, end) {
        (Ok(Ok(())), Some(end)) if !is_for_us(&head[..end], hosts) => {
            response(403, "text/plain", "ask for localhost, for an address, or for a name in `hosts` of `web`\n")
        }
        (Err(_), _) => response(408, "text/plain", "the request did not come\n"),
        (Ok(Err(error)), _) => return Err(error),
        (Ok(Ok(())), None) if head.len() > limits::WEB_HEAD_BYTES_MAX => {
            response(431, "text/plain", "the head is too long\n")
        }
        (Ok(Ok(())), Some(end)) if ingest::is_for(&head) => {
            let reply = match &door {
                Some(door) => door.answer(&mut stream, &head[..end], &head[end..], &known, stays).await?,
                None => Reply::refused(404, "lines are not taken here"),
            };
            reply.text()
        }
        (Ok(Ok(())), _) => reply_to(&head, &known),
    };
    let said = timeout(PATIENCE, async {
        stream.write_all(reply.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing on what was sent and not read would take the answer back.
        let (mut rest, mut left) = ([0; 4096], REST_BYTES_MAX);
        while left > 0 {
            match stream.read(&mut rest).await? {
                0 => break,
                len => left = left.saturating_sub(len),
            }
        }
        std::io::Result::Ok(())
    });
    said.await.unwrap_or(Ok(()))
}

/// Whether a request names no host, an address, a name without a dot, such as `localhost`, or one that was configured. A page in a browser can be made to
/// ask us by a name of its own, which it lets mean this machine after it was loaded: one that the whole world can look up.
fn is_for_us(head: &[u8], ours: &[String]) -> bool {
    let text = String::from_utf8_lossy(head);
    let hosts = text.lines().skip(1).filter_map(|it| it.split_once(':')).filter(|it| it.0.eq_ignore_ascii_case("host"));
    hosts.map(|it| it.1.trim()).all(|host| {
        let name = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((address, _)) => address,
            None => host.split_once(':').map_or(host, |it| it.0),
        };
        let is_ours = || ours.iter().any(|it| it.eq_ignore_ascii_case(name.trim_end_matches('.')));
        !name.contains('.') || name.parse::<IpAddr>().is_ok() || is_ours()
    })
}

/// The answer to a request's head. Pure. Balancers and uptime checks ask by HEAD, which is GET without the body.
fn reply_to(head: &[u8], published: &Published) -> String {
    let text = String::from_utf8_lossy(head);
    let mut words = text.lines().next().unwrap_or("").split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    if method != "HEAD" {
        return reply_with_body(method, path, published);
    }
    let mut reply = reply_with_body("GET", path, published);
    reply.truncate(reply.find("\r\n\r\n").map_or(0, |it| it + 4));
    reply
}

fn reply_with_body(method: &str, path: &str, published: &Published) -> String {
    let known = ["/health", "/ready", "/metrics"].contains(&path);
    let other_method =
        |allowed: &str, body: &str| response_with(405, "text/plain", &format!("Allow: {allowed}\r\n"), body);
    match (method, path) {
        ("GET", "/health") => {
            let status = if published.reasons.is_empty() { "ok" } else { "degraded" };
            let body = serde_json::json!({"status": status, "reasons": published.reasons});
            response(200, "application/json", &format!("{body}\n"))
        }
        ("GET", "/ready") if published.ready => response(200, "text/plain", "ready\n"),
        ("GET", "/ready") => response(503, "text/plain", "not ready\n"),
        ("GET", "/metrics") => response(200, "text/plain; version=0.0.4; charset=utf-8", &published.metrics),
        _ if known => other_method("GET, HEAD", "only GET\n"),
        ("", _) => response(400, "text/plain", "this is no HTTP request\n"),
        _ if path == "/ingest" => other_method("POST", "only POST\n"),
        _ if !["GET", "POST"].contains(&method) => other_method("GET, HEAD, POST", "only GET and POST\n"),
        _ => response(404, "text/plain", "there are /health, /ready, /metrics and /ingest\n"),
    }
}

fn response(code: u16, kind: &str, body: &str) -> String {
    response_with(code, kind, "", body)
}

/// `more`: header lines of its own, each with its end.
fn response_with(code: u16, kind: &str, more: &str, body: &str) -> String {
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\n{more}Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, code: &str, body: &str) {
        let published =
            Published { ready: true, reasons: vec!["storage_full".into()], metrics: "tripline_x 1\n".into() };
        let reply = reply_to(head.as_bytes(), &published);
        assert!(reply.starts_with(&format!("HTTP/1.1 {code} ")), "{reply}");
        assert!(reply.ends_with(body), "{reply}");
    }

    #[test]
    fn requests_and_answers() {
        check("GET /health HTTP/1.1\r\n\r\n", "200", "{\"status\":\"degraded\",\"reasons\":[\"storage_full\"]}\n");
        check("GET /ready?x=1 HTTP/1.1\r\n\r\n", "200", "ready\n");
        check("GET /metrics HTTP/1.1\r\n\r\n", "200", "tripline_x 1\n");
        check("POST /metrics HTTP/1.1\r\n\r\n", "405", "only GET\n");
        check("GET /etc/passwd HTTP/1.1\r\n\r\n", "404", "/ingest\n");
        check("HEAD /health HTTP/1.1\r\n\r\n", "200", "Connection: close\r\n\r\n");
        check(
            "HEAD /ready HTTP/1.1\r\n\r\n",
            "200",
            "Content-Length: 6\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        );
        check("HEAD /ingest HTTP/1.1\r\n\r\n", "405", "nosniff\r\nAllow: POST\r\nConnection: close\r\n\r\n");
        check("HEAD /etc/passwd HTTP/1.1\r\n\r\n", "404", "Connection: close\r\n\r\n");
        check("\u{0}\r\n\r\n", "405", "POST\n");
        check("TRACE / HTTP/1.1\r\n\r\n", "405", "POST\n");
        check("GET /ingest HTTP/1.1\r\n\r\n", "405", "only POST\n");
        check("", "400", "request\n");
    }

    #[test]
    fn a_page_that_lets_its_name_mean_us_is_refused() {
        let hosts = ["tripline.example.com".to_string()];
        let for_us = |host: &str| is_for_us(format!("GET /metrics HTTP/1.1\r\n{host}\r\n").as_bytes(), &hosts);
        for ours in [
            "",
            "Host: 127.0.0.1:7172\r\n",
            "host:LOCALHOST\r\n",
            "Host: [::1]:7172\r\n",
            "Host: 10.0.0.7\r\n",
            "Host: x\r\n",
            "Host: Tripline.example.com:7172\r\n",
            "Host: tripline.example.com.\r\n",
        ] {
            assert!(for_us(ours), "{ours}");
        }
        for other in [
            "Host: x.tripline.example.com\r\n",
            "Host: evil.test\r\n",
            "Host: localhost.evil.test:7172\r\n",
            "Host: 127.0.0.1.evil.test\r\n",
        ] {
            assert!(!for_us(other), "{other}");
        }
        assert!(!for_us("Host: localhost\r\nHost: evil.test\r\n"));
    }

    #[tokio::test]
    async fn answers_over_a_real_connection() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_publish, published) = watch::channel(Arc::new(Published { ready: true, ..Published::default() }));
        let server = tokio::spawn(serve(listener, published, None, Vec::new()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost:7172\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("{\"status\":\"ok\",\"reasons\":[]}\n"), "{reply}");
        // A crowd that holds on and says nothing, twice as many as there are places.
        let mut crowd = Vec::new();
        for _ in 0..2 * (limits::WEB_CONNECTIONS_MAX + limits::INGEST_WAITING_MAX) {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /ready HTTP/1.1\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        timeout(PATIENCE / 2, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        assert!(matches!(bind("0.0.0.0:0").await, Err(NoListener::Refused(_))));
        assert!(matches!(bind(&address.to_string()).await, Err(NoListener::Failed(_))));
        server.abort();
    }
}
