//! The page for machines: `/health`, `/ready` and `/metrics`.
//!
//! It must answer when everything else is in trouble, so it asks nobody: the service publishes what there is to know, and a
//! request copies it. HTTP/1.1, GET only, one request a connection, with limits on everything a stranger can stretch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::limits;

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

/// Opens the listener. Only loopback: there is no authentication.
pub async fn bind(listen: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(listen).await.map_err(|it| format!("web {listen}: cannot listen: {it}"))?;
    let address = listener.local_addr().map_err(|it| format!("web {listen}: {it}"))?;
    if !address.ip().is_loopback() {
        return Err(format!("web {listen}: only loopback addresses, such as 127.0.0.1:7172, are served"));
    }
    Ok(listener)
}

/// Answers until the task is dropped. Where all places are taken, the connection that has been here longest gives up its own:
/// who means it sends his request at once, and a crowd that only holds on cannot keep him out.
pub async fn serve(listener: TcpListener, published: watch::Receiver<Arc<Published>>) {
    let mut tasks = tokio::task::JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while tasks.try_join_next().is_some() {}
        oldest_first.retain(|it| !it.is_finished());
        if oldest_first.len() >= limits::WEB_CONNECTIONS_MAX
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        let published = published.clone();
        oldest_first.push_back(tasks.spawn(async move {
            // A client that is too slow, or gone, is its own problem.
            let _ = timeout(PATIENCE * 2, answer(stream, published)).await;
        }));
    }
}

async fn answer(mut stream: TcpStream, published: watch::Receiver<Arc<Published>>) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let read = timeout(PATIENCE, async {
        while !head.windows(4).any(|it| it == b"\r\n\r\n") && head.len() <= limits::WEB_HEAD_BYTES_MAX {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    });
    let reply = match read.await {
        Err(_) => response(408, "text/plain", "the request did not come\n"),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(())) if head.len() > limits::WEB_HEAD_BYTES_MAX => response(431, "text/plain", "the head is too long\n"),
        Ok(Ok(())) => {
            let known = published.borrow().clone();
            reply_to(&head, &known)
        }
    };
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

/// The answer to a request's head. Pure.
fn reply_to(head: &[u8], published: &Published) -> String {
    let text = String::from_utf8_lossy(head);
    let mut words = text.lines().next().unwrap_or("").split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let known = ["/health", "/ready", "/metrics"].contains(&path);
    match (method, path) {
        ("GET", "/health") => {
            let status = if published.reasons.is_empty() { "ok" } else { "degraded" };
            let body = serde_json::json!({"status": status, "reasons": published.reasons});
            response(200, "application/json", &format!("{body}\n"))
        }
        ("GET", "/ready") if published.ready => response(200, "text/plain", "ready\n"),
        ("GET", "/ready") => response(503, "text/plain", "not ready\n"),
        ("GET", "/metrics") => response(200, "text/plain; version=0.0.4; charset=utf-8", &published.metrics),
        _ if known => response(405, "text/plain", "only GET\n"),
        ("", _) => response(400, "text/plain", "this is no HTTP request\n"),
        _ => response(404, "text/plain", "there are /health, /ready and /metrics\n"),
    }
}

fn response(code: u16, kind: &str, body: &str) -> String {
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
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
        check("GET /etc/passwd HTTP/1.1\r\n\r\n", "404", "/metrics\n");
        check("\u{0}\r\n\r\n", "404", "/metrics\n");
        check("", "400", "request\n");
    }

    #[tokio::test]
    async fn answers_over_a_real_connection() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_publish, published) = watch::channel(Arc::new(Published { ready: true, ..Published::default() }));
        let server = tokio::spawn(serve(listener, published));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("{\"status\":\"ok\",\"reasons\":[]}\n"), "{reply}");
        // A crowd that holds on and says nothing, twice as many as there are places.
        let mut crowd = Vec::new();
        for _ in 0..2 * limits::WEB_CONNECTIONS_MAX {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        timeout(PATIENCE / 2, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        server.abort();
        assert!(bind("0.0.0.0:0").await.is_err());
    }
}
