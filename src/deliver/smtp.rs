//! One mail over one SMTP connection.
//!
//! lettre speaks the protocol; what it leaves to us is the judgement. Each recipient has an answer of its own: one address
//! that is gone must not keep the mail from the others, and one that is greylisted must be tried again without telling the
//! others twice. And an answer means something else before the mail begins than after: a refused login is a matter for the
//! operator and tried again later, a refused recipient is final.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::config::{Email, Tls};
use super::outcome::{Outcome, SLOW};
use super::transport::Progress;

/// What is ready before the first connection.
pub struct Server {
    tls: Option<TlsParameters>,
    hello: ClientId,
}

impl Server {
    pub fn new(email: &Email) -> Result<Server, &'static str> {
        let tls = match email.tls {
            Tls::None => None,
            Tls::StartTls | Tls::Tls => {
                let mut tls =
                    TlsParameters::builder(email.host.clone()).certificate_store(CertificateStore::WebpkiRoots);
                if let Some(pem) = &email.door.ca {
                    let certificate = Certificate::from_pem(pem).map_err(|_| "its `ca` file is no PEM certificate")?;
                    tls = tls.add_root_certificate(certificate);
                }
                Some(tls.build().map_err(|_| "its `ca` file holds no usable certificate")?)
            }
        };
        Ok(Server { tls, hello: ClientId::Domain(email.from.email.domain().to_string()) })
    }

    /// Greets over a connection that is open, and protects it if it is not yet.
    pub async fn greet(&self, stream: TcpStream) -> Result<AsyncSmtpConnection, Outcome> {
        let stream: Box<dyn AsyncTokioStream> = Box::new(LineByLine::new(stream));
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
        let mut connection = connected.map_err(|it| session(&it, "greeting"))?;
        if let Some(tls) = &self.tls {
            if !connection.can_starttls() {
                connection.abort().await;
                let why = "offers no STARTTLS, so nothing was sent".into();
                return Err(Outcome::Retry { after: Some(SLOW), why });
            }
            connection.starttls(tls.clone(), &self.hello).await.map_err(|it| session(&it, "STARTTLS"))?;
        }
        Ok(connection)
    }

    /// The same where TLS comes first (port 465). The address is the one that was judged.
    pub async fn greet_in_tls(&self, address: SocketAddr) -> Result<AsyncSmtpConnection, Outcome> {
        let connected = AsyncSmtpConnection::connect_tokio1(address, None, &self.hello, self.tls.clone(), None).await;
        connected.map_err(|it| session(&it, "TLS"))
    }
}

/// Logs in and hands the mail over to every recipient that is not settled yet.
pub async fn send(
    connection: &mut AsyncSmtpConnection,
    email: &Email,
    mail: &[u8],
    progress: &mut Progress,
) -> Outcome {
    if let Some((user, password)) = &email.login {
        if !connection.is_encrypted() {
            return Outcome::Retry { after: Some(SLOW), why: "the password is never sent in clear".into() };
        }
        let login = Credentials::new(user.clone(), password.expose().to_string());
        if let Err(error) = connection.auth(&[Mechanism::Plain, Mechanism::Login], &login).await {
            return session(&error, "login");
        }
    }
    if let Err(error) = connection.command(Mail::new(Some(email.from.email.clone()), Vec::new())).await {
        // 530: it wants TLS or a login first, so this is about the session.
        return if code(&error) == Some(530) { session(&error, "sender") } else { message(&error, "sender") };
    }
    let mut taken = Vec::new();
    let mut later = None;
    for (index, to) in email.to.iter().enumerate() {
        if progress.settled.contains(&index) {
            continue;
        }
        match connection.command(Rcpt::new(to.email.clone(), Vec::new())).await {
            Ok(_) => taken.push(index),
            Err(error) => match message(&error, "a recipient") {
                Outcome::Final { why } => {
                    progress.settled.insert(index);
                    progress.remark = Some(why);
                }
                other @ (Outcome::Retry { .. }
                | Outcome::Gone { .. }
                | Outcome::Refused { .. }
                | Outcome::Delivered) => {
                    // Without a code the connection itself is gone, and with it whatever was taken before.
                    if code(&error).is_none() || code(&error) == Some(421) {
                        return other;
                    }
                    later = Some(other);
                }
            },
        }
    }
    if !taken.is_empty() {
        if let Err(outcome) = hand_over(connection, mail).await {
            return outcome;
        }
        progress.settled.extend(taken);
        progress.delivered = true;
    }
    match later {
        Some(outcome) => outcome,
        None if progress.delivered => Outcome::Delivered,
        None => Outcome::Final { why: progress.remark.take().unwrap_or_else(|| "nobody to send it to".into()) },
    }
}

/// The mail itself. Only a 2xx after the final dot says that the server has it.
async fn hand_over(connection: &mut AsyncSmtpConnection, mail: &[u8]) -> Result<(), Outcome> {
    let broken = || Outcome::Retry { after: None, why: "answered out of turn".into() };
    let ready = connection.command(Data).await.map_err(|it| message(&it, "the mail"))?;
    if !ready.has_code(354) {
        return Err(broken());
    }
    let taken = connection.message(mail).await.map_err(|it| message(&it, "the mail"))?;
    if taken.has_code(250) { Ok(()) } else { Err(broken()) }
}

/// A failure that is not about this mail.
fn session(error: &Error, stage: &str) -> Outcome {
    let after = code(error).filter(|it| *it >= 500).map(|_| SLOW);
    Outcome::Retry { after, why: describe(error, stage) }
}

/// A failure that is about this mail, or one of its recipients.
fn message(error: &Error, stage: &str) -> Outcome {
    let why = describe(error, stage);
    if code(error).is_some_and(|it| it >= 500) { Outcome::Final { why } } else { Outcome::Retry { after: None, why } }
}

/// The code without the server's words, which may be anybody's.
fn describe(error: &Error, stage: &str) -> String {
    match code(error) {
        Some(code) => format!("answered {code} to {stage}"),
        None if error.is_client() => format!("and Tripline do not agree about {stage}"),
        None => format!("broke off at {stage}"),
    }
}

fn code(error: &Error) -> Option<u16> {
    error.status().map(|it| it.severity as u16 * 100 + it.category as u16 * 10 + it.detail as u16)
}

/// A stream that is read one line at a time.
///
/// Whoever sits between may append answers to the server's "220 go ahead" before TLS begins. A reader that had already
/// buffered them would take them for answers given under TLS, and from then on each answer would be one too early: the
/// "354 send it" would pass for the final "250 taken". Here such bytes stay below TLS, where they are no TLS, and the
/// handshake fails.
#[derive(Debug)]
struct LineByLine {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl LineByLine {
    fn new(stream: TcpStream) -> LineByLine {
        LineByLine { stream, buffer: Vec::new(), start: 0 }
    }
}

impl AsyncTokioStream for LineByLine {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for LineByLine {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start == this.buffer.len() {
            this.buffer.resize(4096, 0);
            this.start = 0;
            let mut fresh = ReadBuf::new(&mut this.buffer);
            let polled = Pin::new(&mut this.stream).poll_read(cx, &mut fresh);
            let filled = if matches!(polled, Poll::Ready(Ok(()))) { fresh.filled().len() } else { 0 };
            this.buffer.truncate(filled);
            ready!(polled)?;
        }
        let waiting = &this.buffer[this.start..];
        let line = memchr::memchr(b'\n', waiting).map_or(waiting.len(), |it| it + 1);
        let len = line.min(out.remaining());
        out.put_slice(&waiting[..len]);
        this.start += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineByLine {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
