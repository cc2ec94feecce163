//! The way out: the only place that opens connections to receivers.
//!
//! What a receiver may be is configuration; where its name leads is not. So the guard stands in the resolver and in front
//! of literal addresses, below everything that sends: tests, retries and probes cannot go around it. Redirects, proxies
//! from the environment and decompression are off, because each would let somebody else choose where the message goes or
//! how much comes back. Whatever happens is described without the URL, for the URL is a secret.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::{Channel, Door, Email, Receiver, Secret};
use super::file;
use super::guard::{self, Network};
use super::outcome::{Outcome, Reply, SLOW, judge};
use super::smtp;
use super::webhook;
use crate::limits;
use crate::model::Timestamp;

const USER_AGENT: &str = concat!("tripline/", env!("CARGO_PKG_VERSION"));

/// How long each part of a try may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Resolving a name, and opening a connection to it.
    pub connect: Duration,
    /// A whole HTTP request with its answer.
    pub request: Duration,
    /// A whole SMTP dialogue: servers that distrust strangers answer slowly on purpose.
    pub mail: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timing { connect: seconds(5), request: seconds(15), mail: seconds(30) }
    }
}

/// How far a note has come that has several recipients.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Progress {
    /// Recipients that need no further try, by their place in the configuration.
    pub settled: BTreeSet<usize>,
    /// One of them has it.
    pub delivered: bool,
    /// What went wrong although somebody was reached.
    pub remark: Option<String>,
}

/// Names to addresses; another in tests.
pub type Lookup = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync>;

/// The resolver of the system.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|it| it.ip()).collect()) }))
}

/// The time of day, for stamps.
pub type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One receiver and what is needed to reach it.
pub struct Transport {
    receiver: Arc<Receiver>,
    gate: Gate,
    wall: Wall,
    timing: Timing,
}

/// What was set up once for the kind of receiver.
enum Gate {
    Http { client: reqwest::Client, url: Url },
    Mail { server: smtp::Server, guard: Guard },
    Stdout,
    File,
}

impl Transport {
    /// The error says what about the receiver cannot be set up, without a secret.
    pub fn new(receiver: impl Into<Arc<Receiver>>, wall: Wall) -> Result<Transport, String> {
        Transport::with(receiver, wall, Timing::default(), system_lookup())
    }

    pub fn with(
        receiver: impl Into<Arc<Receiver>>,
        wall: Wall,
        timing: Timing,
        lookup: Lookup,
    ) -> Result<Transport, String> {
        let receiver = receiver.into();
        let gate = match &receiver.channel {
            Channel::Webhook(it) => http_gate(&it.url, &it.door, timing, lookup),
            Channel::Slack(it) => http_gate(&it.url, &it.door, timing, lookup),
            Channel::Email(it) => smtp::Server::new(it)
                .map(|server| Gate::Mail { server, guard: Guard::new(&it.door, timing.connect, lookup) }),
            Channel::Stdout => Ok(Gate::Stdout),
            Channel::JsonFile(_) => Ok(Gate::File),
        };
        let gate = gate.map_err(|problem| format!("receiver `{}`: {problem}", receiver.name))?;
        Ok(Transport { receiver, gate, wall, timing })
    }

    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    pub fn receiver_shared(&self) -> Arc<Receiver> {
        self.receiver.clone()
    }

    /// One try.
    pub async fn carry(&self, key: &str, body: &[u8], progress: &mut Progress) -> Outcome {
        match (&self.gate, &self.receiver.channel) {
            (Gate::Http { client, url }, channel) => self.post(client, url, channel, key, body).await,
            (Gate::Mail { server, guard }, Channel::Email(email)) => {
                let dialogue = mail(server, guard, self.timing, email, body, progress);
                match timeout(self.timing.mail, dialogue).await {
                    Ok(outcome) => outcome,
                    Err(_) => Outcome::Retry { after: None, why: "took too long to answer".into() },
                }
            }
            (Gate::File, Channel::JsonFile(path)) => written(append(path.clone(), body.to_vec()).await),
            (Gate::Stdout | Gate::File | Gate::Mail { .. }, _) => written(print(body).await),
        }
    }

    async fn post(&self, client: &reqwest::Client, url: &Url, channel: &Channel, key: &str, body: &[u8]) -> Outcome {
        let now = (self.wall)();
        let door = match channel {
            Channel::Webhook(it) => &it.door,
            Channel::Slack(it) => &it.door,
            Channel::Email(_) | Channel::Stdout | Channel::JsonFile(_) => {
                return Outcome::Final { why: "is no HTTP receiver".into() };
            }
        };
        // A literal address never meets the resolver, so it is judged here.
        if let Some(why) = literal(url.host_str()).and_then(|it| guard::refusal(it, &door.allowed)) {
            return Outcome::Retry { after: Some(SLOW), why };
        }
        let request = client.post(url.clone()).headers(headers(channel, key, body, now)).body(body.to_vec());
        match request.send().await {
            Ok(mut response) => {
                let retry_after = response.headers().get("retry-after").and_then(|it| it.to_str().ok());
                let reply =
                    Reply::Status { code: response.status().as_u16(), retry_after: retry_after.map(String::from) };
                let is_whole = timeout(Duration::from_secs(1), read_to_end(&mut response)).await;
                if let (200..=299, Ok(false)) = (response.status().as_u16(), is_whole) {
                    let why = "broke off in the middle of its answer".into();
                    return judge(&Reply::None { why }, now);
                }
                judge(&reply, now)
            }
            Err(error) => match find::<Refusal>(&error) {
                Some(refusal) => Outcome::Retry { after: Some(SLOW), why: refusal.0.clone() },
                None => judge(&Reply::None { why: describe(&error) }, now),
            },
        }
    }
}

/// Reads the body of an answer, so that the connection can serve again. False where it is broken: then the receiver may
/// have died over the note as well. Whoever sends much or slowly only loses the connection; his status stands.
async fn read_to_end(response: &mut reqwest::Response) -> bool {
    let mut bytes = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes + chunk.len() <= limits::REPLY_BYTES_MAX => bytes += chunk.len(),
            Ok(Some(_) | None) => return true,
            Err(error) => return error.is_timeout(),
        }
    }
}

/// Why the address that is written in the configuration may not be reached; None for names, which are judged when they
/// are resolved. For `tripline check`.
pub fn refused_destination(channel: &Channel) -> Option<String> {
    match channel {
        Channel::Webhook(it) => literal_refusal(&it.url, &it.door),
        Channel::Slack(it) => literal_refusal(&it.url, &it.door),
        Channel::Email(it) => literal(Some(&it.host)).and_then(|address| guard::refusal(address, &it.door.allowed)),
        Channel::Stdout | Channel::JsonFile(_) => None,
    }
}

fn literal_refusal(url: &Secret, door: &Door) -> Option<String> {
    let url = Url::parse(url.expose()).ok()?;
    literal(url.host_str()).and_then(|it| guard::refusal(it, &door.allowed))
}

/// The address that a host is, if it is one. `Url` has already turned `0x7f.1` and `2130706433` into `127.0.0.1`.
fn literal(host: Option<&str>) -> Option<IpAddr> {
    host?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The headers of a request as text, for a person; None where there is no request.
pub fn shown_headers(channel: &Channel, key: &str, body: &[u8], now: Timestamp) -> Option<String> {
    match channel {
        Channel::Webhook(_) | Channel::Slack(_) => {}
        Channel::Email(_) | Channel::Stdout | Channel::JsonFile(_) => return None,
    }
    let mut text = String::from("POST ***\r\n");
    for (name, value) in &headers(channel, key, body, now) {
        let value = if value.is_sensitive() { "***" } else { value.to_str().unwrap_or("***") };
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    Some(text)
}

fn headers(channel: &Channel, key: &str, body: &[u8], now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("user-agent", HeaderValue::from_static(USER_AGENT));
    if let Channel::Webhook(webhook) = channel {
        for (name, value) in &webhook.headers {
            headers.append(name, value.clone());
        }
        for (name, value) in webhook::headers(key, body, &webhook.keys, now) {
            let value = HeaderValue::from_str(&value).expect("keys are tokens, and signatures base64");
            headers.insert(name, value);
        }
    }
    headers
}

fn http_gate(url: &Secret, door: &Door, timing: Timing, lookup: Lookup) -> Result<Gate, &'static str> {
    let url = Url::parse(url.expose()).map_err(|_| "its URL is none")?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(crate::tls::client(door.ca.as_deref())?)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .connect_timeout(timing.connect)
        .timeout(timing.request)
        .pool_max_idle_per_host(limits::DELIVERIES_IN_FLIGHT_MAX)
        .pool_idle_timeout(Duration::from_secs(30))
        .dns_resolver(Guard::new(door, timing.connect, lookup))
        .build()
        .map_err(|_| "the HTTP client cannot be set up")?;
    Ok(Gate::Http { client, url })
}

/// Resolves names, and lets only those addresses through that may be reached. The connection goes to what came out of
/// here, so a second answer of the DNS changes nothing.
#[derive(Clone)]
struct Guard {
    allowed: Arc<[Network]>,
    patience: Duration,
    lookup: Lookup,
}

impl Guard {
    fn new(door: &Door, patience: Duration, lookup: Lookup) -> Guard {
        Guard { allowed: door.allowed.clone().into(), patience, lookup }
    }

    async fn addresses(&self, name: String) -> Result<Vec<IpAddr>, Box<dyn Error + Send + Sync>> {
        let found = match literal(Some(&name)) {
            Some(address) => vec![address],
            None => {
                timeout(self.patience, (self.lookup)(name)).await.map_err(|_| Unresolved)?.map_err(|_| Unresolved)?
            }
        };
        let mut refused = None;
        let mut passed = Vec::new();
        for address in found {
            match guard::refusal(address, &self.allowed) {
                None => passed.push(address),
                Some(why) => refused = Some(why),
            }
        }
        match (passed.is_empty(), refused) {
            (false, _) => Ok(passed),
            (true, Some(why)) => Err(Box::new(Refusal(why))),
            (true, None) => Err(Box::new(Unresolved)),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        let name = name.as_str().to_string();
        Box::pin(async move {
            let addresses = guard.addresses(name).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|it| SocketAddr::new(it, 0)));
            Ok(addresses)
        })
    }
}

/// The guard said no.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refusal {}

#[derive(Debug)]
struct Unresolved;

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its name cannot be resolved")
    }
}

impl Error for Unresolved {}

/// An error of that kind somewhere among the causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An io::Error hides what it wraps from `source`.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What went wrong, in our words: those of the libraries may hold the URL.
fn describe(error: &reqwest::Error) -> String {
    if find::<Unresolved>(error).is_some() {
        Unresolved.to_string()
    } else if let Some(error) = find::<rustls::Error>(error) {
        match error {
            rustls::Error::InvalidCertificate(_) => "its certificate is not trusted".into(),
            _ => "TLS failed".into(),
        }
    } else if error.is_timeout() {
        "took too long to answer".into()
    } else if error.is_connect() {
        "cannot be connected to".into()
    } else {
        "broke off or did not answer in HTTP".into()
    }
}

async fn mail(
    server: &smtp::Server,
    guard: &Guard,
    timing: Timing,
    email: &Email,
    body: &[u8],
    progress: &mut Progress,
) -> Outcome {
    let addresses = match guard.addresses(email.host.clone()).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let after = error.is::<Refusal>().then_some(SLOW);
            return Outcome::Retry { after, why: error.to_string() };
        }
    };
    // The first address that can be connected to.
    let mut open = None;
    for address in addresses.iter().map(|it| SocketAddr::new(*it, email.port)) {
        if let Ok(Ok(stream)) = timeout(timing.connect, TcpStream::connect(address)).await {
            open = Some((address, stream));
            break;
        }
    }
    let Some((address, stream)) = open else {
        return Outcome::Retry { after: None, why: "cannot be connected to".into() };
    };
    let greeted = match email.tls {
        super::config::Tls::None | super::config::Tls::StartTls => server.greet(stream).await,
        super::config::Tls::Tls => {
            drop(stream);
            server.greet_in_tls(address).await
        }
    };
    let mut connection = match greeted {
        Ok(connection) => connection,
        Err(outcome) => return outcome,
    };
    let outcome = smtp::send(&mut connection, email, body, progress).await;
    // A polite end, if it costs nothing: the outcome is known.
    let _ = timeout(Duration::from_secs(1), connection.abort()).await;
    outcome
}

async fn append(path: PathBuf, line: Vec<u8>) -> io::Result<()> {
    match tokio::task::spawn_blocking(move || file::append(&path, &line)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the writer died")),
    }
}

async fn print(text: &[u8]) -> io::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(text).await?;
    out.flush().await
}

fn written(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Delivered,
        Err(error) => Outcome::Retry { after: None, why: format!("cannot be written: {}", error.kind()) },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::deliver::config::{Outside, Settings, resolve};
    use crate::deliver::sample;
    use crate::deliver::test_server::{Act, HttpServer, Smtp, SmtpServer, certificate};
    use crate::deliver::{Moment, compose, key, notify_test, terminal::Look};
    use crate::model::Alert;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static HUNDRED: OnceLock<String> = OnceLock::new();
    static HEADERS: OnceLock<String> = OnceLock::new();
    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const HOME: &str = r#"allow_destinations: ["127.0.0.0/8"]"#;

    fn transport(setting: &str, pem: &str, lookup: Lookup) -> Transport {
        let settings: Settings = ron::from_str(&format!("{{\"r\": {setting}}}")).unwrap();
        let pem = pem.to_string();
        let outside = Outside { env: &|_| None, file: &|_| Ok(pem.clone().into_bytes()) };
        let receiver = resolve(&settings, &outside).unwrap().pop().unwrap();
        let timing = Timing {
            connect: Duration::from_millis(500),
            request: Duration::from_millis(600),
            mail: Duration::from_millis(1500),
        };
        Transport::with(receiver, Arc::new(|| NOW), timing, lookup).unwrap()
    }

    /// Every name is these addresses; counts how often it is asked.
    fn names(addresses: &[&str], asked: Arc<AtomicUsize>) -> Lookup {
        let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        Arc::new(move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        })
    }

    async fn send(transport: &Transport, alert: &Alert) -> (Outcome, Progress) {
        let body = compose(&transport.receiver().channel, alert, Moment { now: NOW, look: Look::Lines });
        let mut progress = Progress::default();
        let outcome = transport.carry(&key(alert), &body, &mut progress).await;
        (outcome, progress)
    }

    fn hook(port: u16, rest: &str) -> Transport {
        let setting = format!(r#"Webhook(url: "http://127.0.0.1:{port}/secret-path", secret: "{SECRET}", {rest})"#);
        transport(&setting, "", system_lookup())
    }

    fn said(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Delivered => "delivered".into(),
            Outcome::Retry { after, why } => {
                format!("retry{} {why}", after.map_or(String::new(), |it| format!(" after {it}")))
            }
            Outcome::Gone { why } => format!("gone {why}"),
            Outcome::Refused { why } => format!("refused {why}"),
            Outcome::Final { why } => format!("final {why}"),
        }
    }

    #[tokio::test]
    async fn a_request_is_signed_and_whole() {
        let server = HttpServer::start([]).await;
        let hook = hook(server.port, &format!(r#"headers: {{"X-Team": "soc"}}, {HOME}"#));
        for alert in [sample::alert(), sample::hostile()] {
            assert_eq!(send(&hook, &alert).await.0, Outcome::Delivered);
            let request = server.log.requests.lock().unwrap().pop().unwrap();
            assert!(request.head.starts_with("POST /secret-path HTTP/1.1\r\n"));
            assert_eq!(request.header("content-type"), "application/json");
            assert_eq!(request.header("x-team"), "soc");
            assert_eq!(request.header("accept-encoding"), "");
            assert!(request.header("user-agent").starts_with("tripline/"));
            assert_eq!(serde_json::from_slice::<Alert>(&request.body).unwrap(), alert);
            // The signature, computed again from what arrived.
            use base64::Engine;
            let base64 = base64::engine::general_purpose::STANDARD;
            let bytes = base64.decode(SECRET.trim_start_matches("whsec_")).unwrap();
            let (id, at) = (request.header("webhook-id"), request.header("webhook-timestamp"));
            assert_eq!((id, at), (key(&alert).as_str(), "1700000000"));
            let signed = [format!("{id}.{at}.").as_bytes(), &request.body].concat();
            let signature = base64.decode(request.header("webhook-signature").trim_start_matches("v1,")).unwrap();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &bytes);
            ring::hmac::verify(&key, &signed, &signature).unwrap();
        }
        assert_eq!(server.log.connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn hostile_answers_are_failures_and_nothing_more() {
        let trap = HttpServer::start([]).await;
        let elsewhere = format!("location: http://127.0.0.1:{}/", trap.port);
        for (act, expected) in [
            (Act::Status(500), "retry answered 500"),
            (Act::Status(413), "refused answered 413"),
            (Act::Status(410), "gone answered 410"),
            (Act::Header(429, "retry-after: 2".into()), "retry after 2s answered 429"),
            (Act::Header(503, "retry-after: Wed, 15 Nov 2023 00:00:00 GMT".into()), "retry after 1h answered 503"),
            (Act::Header(302, elsewhere.clone()), "retry answered 302, a redirect"),
            (Act::Header(307, elsewhere), "retry answered 307, a redirect"),
            (Act::Hang, "retry took too long"),
            (Act::Reset, "retry broke off"),
            (Act::Taken, "retry broke off"),
            (Act::Huge, "delivered"),
            (Act::Raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "retry broke off in the middle"),
            (Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nslow"), "delivered"),
            (Act::Raw("HTTP/1.1 200 OK\r\n"), "retry took too long"),
            (Act::Raw(HUNDRED.get_or_init(|| "HTTP/1.1 100 Continue\r\n\r\n".repeat(100))), "retry"),
            (Act::Raw(HEADERS.get_or_init(|| format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(100_000)))), "retry"),
            (Act::Raw("SSH-2.0-OpenSSH_9.6\r\n"), "retry broke off"),
            (Act::Raw("\u{0}\u{1}\u{2}"), "retry"),
        ] {
            let server = HttpServer::start([act]).await;
            let (outcome, _) = send(&hook(server.port, HOME), &sample::alert()).await;
            assert!(said(&outcome).starts_with(expected), "{expected}: {}", said(&outcome));
            assert!(!said(&outcome).contains("secret-path"));
            // What the kernel buffers between us is beyond our reading; a megabyte is far beyond that on loopback.
            assert!(server.log.bytes_sent.load(Ordering::SeqCst) < 16 << 20);
        }
        assert_eq!(trap.log.connections.load(Ordering::SeqCst), 0);
        // Nobody listens.
        let gone = HttpServer::start([]).await.port;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_ne!(gone, port);
        assert!(said(&send(&hook(port, HOME), &sample::alert()).await.0).starts_with("retry cannot be connected to"));
    }

    #[tokio::test]
    async fn private_destinations_are_refused_unless_listed() {
        let server = HttpServer::start([]).await;
        let port = server.port;
        let asked = Arc::new(AtomicUsize::new(0));
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "①②⑦.0.0.1",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "loopback.example",
        ] {
            for (allowed, expected) in [("", "retry after 5m "), (r#""127.0.0.0/8""#, "delivered")] {
                let setting = format!(r#"Slack(url: "http://{host}:{port}/hunter2", allow_destinations: [{allowed}])"#);
                let transport = transport(&setting, "", names(&["127.0.0.1"], asked.clone()));
                let outcome = said(&send(&transport, &sample::alert()).await.0);
                assert!(outcome.starts_with(expected), "{host} {allowed}: {outcome}");
                assert!(!outcome.contains("hunter2"));
                // The test from the command line goes the same way.
                let moment = Moment { now: NOW, look: Look::Lines };
                assert_eq!(notify_test(&transport, moment).await.is_ok(), !allowed.is_empty(), "{host}");
                let literal = refused_destination(&transport.receiver().channel);
                assert_eq!(literal.is_some(), allowed.is_empty() && !host.ends_with("example"), "{host}");
            }
        }
        assert_eq!(server.seen(), 20);
        // The metadata service, by literal and by a name with one good and one bad address: only the good one is used.
        let setting = format!(r#"Slack(url: "http://169.254.169.254/", {HOME})"#);
        let (outcome, _) = send(&transport(&setting, "", system_lookup()), &sample::alert()).await;
        assert!(said(&outcome).contains("169.254.169.254 is link-local"), "{}", said(&outcome));
        let setting = format!(r#"Slack(url: "http://mixed.example:{port}/", {HOME})"#);
        let mixed = transport(&setting, "", names(&["169.254.169.254", "10.0.0.1", "127.0.0.1"], asked.clone()));
        assert_eq!(send(&mixed, &sample::alert()).await.0, Outcome::Delivered);
    }

    #[tokio::test]
    async fn the_address_that_was_judged_is_the_one_connected_to() {
        // A name that is public when it is judged and loopback when asked again.
        let answers = Arc::new(Mutex::new(vec!["127.0.0.1", "192.0.2.1"]));
        let lookup: Lookup = Arc::new(move |_| {
            let answer = answers.lock().unwrap().pop().unwrap_or("127.0.0.1");
            Box::pin(async move { Ok(vec![answer.parse().unwrap()]) })
        });
        let server = HttpServer::start([]).await;
        let setting =
            format!(r#"Slack(url: "http://rebind.example:{}/", allow_destinations: ["192.0.2.0/24"])"#, server.port);
        let transport = transport(&setting, "", lookup);
        for _ in 0..3 {
            assert_ne!(send(&transport, &sample::alert()).await.0, Outcome::Delivered);
        }
        assert_eq!(server.log.connections.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn tls_trusts_the_configured_authority_only() {
        let (pem, acceptor) = certificate();
        let server = HttpServer::with([], Some(acceptor)).await;
        for (ca, expected) in [(r#", ca: "x""#, "delivered"), ("", "retry its certificate is not trusted")] {
            let setting = format!(r#"Slack(url: "https://localhost:{}/", {HOME}{ca})"#, server.port);
            let lookup = names(&["127.0.0.1"], Arc::default());
            let (outcome, _) = send(&transport(&setting, &pem, lookup), &sample::alert()).await;
            assert_eq!(said(&outcome), expected);
        }
    }

    fn mailer(port: u16, rest: &str, pem: &str) -> Transport {
        let setting = format!(
            r#"Email(smtp: "smtp://localhost:{port}", from: "tripline@example.com", to: ["a@example.com", "b@example.com"], {HOME}, {rest})"#
        );
        transport(&setting, pem, names(&["127.0.0.1"], Arc::default()))
    }

    const LOGIN: &str = r#"user: "ann", password: "hunter2""#;

    /// Tries the mail against a server; what became of it, what the server saw, and how many mails it took.
    async fn check_mail(smtp: Smtp, rest: &str, pem: &str, expected: &str, mails: usize) -> SmtpServer {
        let server = SmtpServer::start(smtp).await;
        let (outcome, _) = send(&mailer(server.port, rest, pem), &sample::hostile()).await;
        assert!(said(&outcome).starts_with(expected), "{expected}: {}\n{}", said(&outcome), server.commands());
        assert_eq!(server.taken().len(), mails, "{}", server.commands());
        // Never a password in clear, never a recipient of somebody else's choosing.
        for (tls, line) in server.lines.lock().unwrap().iter() {
            assert!(*tls || !line.starts_with("AUTH"), "{line}");
            assert!(!line.to_ascii_lowercase().starts_with("bcc:"), "{line}");
            assert!(!line.starts_with("RCPT") || line.contains("a@example.com") || line.contains("b@example.com"));
        }
        server
    }

    fn answers(command: &'static str, answers: &[&'static str]) -> Smtp {
        Smtp { answers: vec![(command, answers.to_vec())], ..Smtp::default() }
    }

    #[tokio::test]
    async fn mail_in_clear_to_this_machine() {
        let server = check_mail(Smtp::default(), "", "", "delivered", 1).await;
        let (to, mail) = &server.taken()[0];
        assert_eq!(to, &["a@example.com", "b@example.com"]);
        assert!(mail.contains("Message-ID: <channelhttpsevilexampleclick"), "{mail}");
        assert!(mail.contains("MIME-Version: 1.0"));
    }

    #[tokio::test]
    async fn answers_of_mail_servers() {
        check_mail(answers("MAIL", &["451 later"]), "", "", "retry answered 451 to sender", 0).await;
        check_mail(answers("MAIL", &["550 no"]), "", "", "final answered 550 to sender", 0).await;
        check_mail(answers("MAIL", &["530 login first"]), "", "", "retry after 5m answered 530", 0).await;
        check_mail(answers("RCPT", &["450 grey", "450 grey"]), "", "", "retry answered 450 to a recipient", 0).await;
        check_mail(answers("RCPT", &["550 no", "550 no"]), "", "", "final answered 550 to a recipient", 0).await;
        check_mail(answers("DATA", &["452 full"]), "", "", "retry answered 452 to the mail", 0).await;
        check_mail(answers("DATA", &["250 what"]), "", "", "retry answered out of turn", 0).await;
        check_mail(answers(".", &["554 spam"]), "", "", "final answered 554 to the mail", 0).await;
        check_mail(answers(".", &[""]), "", "", "retry broke off at the mail", 1).await;
        check_mail(answers("RCPT", &["421 bye", ""]), "", "", "retry answered 421", 0).await;
        check_mail(answers("RCPT", &[""]), "", "", "retry broke off at a recipient", 0).await;
        let banner = |banner| Smtp { banner, ..Smtp::default() };
        check_mail(banner("554 go away"), "", "", "retry after 5m answered 554 to greeting", 0).await;
        check_mail(banner("421 busy"), "", "", "retry answered 421 to greeting", 0).await;
        check_mail(banner("HTTP/1.1 200 OK"), "", "", "retry broke off at greeting", 0).await;
    }

    #[tokio::test]
    async fn one_bad_recipient_keeps_nobody_from_reading() {
        // One is gone for good: the other has it, and the remark says who is missing.
        let server = SmtpServer::start(answers("RCPT TO:<a@", &["550 no such user"])).await;
        let (outcome, progress) = send(&mailer(server.port, "", ""), &sample::alert()).await;
        assert_eq!(outcome, Outcome::Delivered);
        assert_eq!(progress.remark.as_deref(), Some("answered 550 to a recipient"));
        assert_eq!(server.taken()[0].0, ["b@example.com"]);

        // One is greylisted: the next try is for him alone.
        let server = SmtpServer::start(answers("RCPT TO:<a@", &["450 come back"])).await;
        let mailer = mailer(server.port, "", "");
        let body = compose(&mailer.receiver().channel, &sample::alert(), Moment { now: NOW, look: Look::Lines });
        let mut progress = Progress::default();
        assert!(said(&mailer.carry("k", &body, &mut progress).await).starts_with("retry answered 450"));
        assert_eq!(mailer.carry("k", &body, &mut progress).await, Outcome::Delivered);
        let taken = server.taken();
        assert_eq!(taken[0].0, ["b@example.com"]);
        assert_eq!(taken[1].0, ["a@example.com"]);
        assert_eq!(taken[0].1, taken[1].1);
    }

    #[tokio::test]
    async fn mail_is_protected_or_not_sent() {
        let (pem, acceptor) = certificate();
        let tls = || Smtp { tls: Some(acceptor.clone()), offers_tls: true, offers_auth: true, ..Smtp::default() };
        let trusted = format!(r#"tls: StartTls, ca: "x", {LOGIN}"#);
        let server = check_mail(tls(), &trusted, &pem, "delivered", 1).await;
        let login = server.commands();
        assert!(login.contains("\n*AUTH PLAIN "), "{login}");
        assert!(login.lines().filter(|it| it.starts_with("MAIL") || it.starts_with("RCPT")).count() == 0, "{login}");

        check_mail(tls(), &format!("tls: StartTls, {LOGIN}"), &pem, "retry broke off at STARTTLS", 0).await;
        let stripped = Smtp { offers_tls: false, offers_auth: true, ..Smtp::default() };
        let nothing = "retry after 5m offers no STARTTLS";
        check_mail(stripped.clone(), &trusted, &pem, nothing, 0).await;
        check_mail(stripped.clone(), "tls: StartTls", "", nothing, 0).await;
        // A password without a word about TLS means TLS.
        check_mail(stripped, LOGIN, &pem, nothing, 0).await;
        let refused = Smtp { answers: vec![("STARTTLS", vec!["454 not now"])], ..tls() };
        check_mail(refused, &trusted, &pem, "retry answered 454 to STARTTLS", 0).await;
        let wrong = Smtp { answers: vec![("AUTH", vec!["535 no"])], ..tls() };
        check_mail(wrong, &trusted, &pem, "retry after 5m answered 535 to login", 0).await;
        let first = Smtp { tls_first: true, ..tls() };
        check_mail(first, &format!(r#"tls: Tls, ca: "x", {LOGIN}"#), &pem, "delivered", 1).await;
    }

    #[tokio::test]
    async fn answers_injected_before_tls_do_not_count() {
        let (pem, acceptor) = certificate();
        let smtp = Smtp { tls: Some(acceptor), offers_tls: true, injected: "\r\n250 injected", ..Smtp::default() };
        check_mail(smtp, r#"tls: StartTls, ca: "x""#, &pem, "retry broke off at STARTTLS", 0).await;
    }

    #[tokio::test]
    async fn mail_servers_are_guarded_too() {
        let server = SmtpServer::start(Smtp::default()).await;
        for host in ["127.0.0.1", "0x7f.1", "mail.example", "[::ffff:127.0.0.1]"] {
            let setting =
                format!(r#"Email(smtp: "smtp://{host}:{}", from: "a@b.c", to: ["d@e.f"], tls: None)"#, server.port);
            let transport = transport(&setting, "", names(&["127.0.0.1"], Arc::default()));
            let outcome = said(&send(&transport, &sample::alert()).await.0);
            assert!(outcome.starts_with("retry after 5m ") && outcome.contains("allow_destinations"), "{outcome}");
        }
        assert_eq!(server.commands(), "");
    }
}
