//! Receivers for tests: HTTP and SMTP servers on loopback that misbehave as they are told.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A folder that goes with the test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tripline-deliver-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate for loopback: what to trust (PEM), and a server that has it.
pub fn certificate() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// What to do with one request.
#[derive(Clone)]
pub enum Act {
    Status(u16),
    /// Status and a header line.
    Header(u16, String),
    /// Says nothing for ever.
    Hang,
    /// Closes before anything is read.
    Reset,
    /// Reads everything, then closes.
    Taken,
    /// 200 and more than anybody wants to read.
    Huge,
    Raw(&'static str),
}

pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.unwrap_or_default()
    }
}

#[derive(Default)]
pub struct Log {
    acts: Mutex<VecDeque<Act>>,
    pub requests: Mutex<Vec<Request>>,
    pub connections: AtomicUsize,
    pub bytes_sent: AtomicUsize,
}

/// Does what the script says, then answers 200.
pub struct HttpServer {
    pub port: u16,
    pub log: Arc<Log>,
}

impl HttpServer {
    pub async fn start(acts: impl IntoIterator<Item = Act>) -> HttpServer {
        HttpServer::with(acts, None).await
    }

    pub async fn with(acts: impl IntoIterator<Item = Act>, tls: Option<TlsAcceptor>) -> HttpServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Log { acts: Mutex::new(acts.into_iter().collect()), ..Log::default() });
        let shared = log.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (log, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let _ = match tls {
                        None => serve(stream, &log).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &log).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        HttpServer { port, log }
    }

    pub fn seen(&self) -> usize {
        self.log.requests.lock().unwrap().len()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, log: &Log) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let act = log.acts.lock().unwrap().pop_front().unwrap_or(Act::Status(200));
        if matches!(act, Act::Reset) {
            return Ok(());
        }
        let mut request = Request { head, body: Vec::new() };
        request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
        stream.read_exact(&mut request.body).await?;
        log.requests.lock().unwrap().push(request);
        let answer = match act {
            Act::Status(code) => format!("HTTP/1.1 {code} X\r\ncontent-length: 2\r\n\r\nok"),
            Act::Header(code, line) => format!("HTTP/1.1 {code} X\r\n{line}\r\ncontent-length: 0\r\n\r\n"),
            Act::Raw(text) => text.to_string(),
            Act::Reset | Act::Taken => return Ok(()),
            Act::Hang => return std::future::pending().await,
            Act::Huge => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                    log.bytes_sent.fetch_add(4096, Ordering::SeqCst);
                }
            }
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// How an SMTP server answers.
#[derive(Clone)]
pub struct Smtp {
    pub banner: &'static str,
    pub tls: Option<TlsAcceptor>,
    /// Offers STARTTLS; with `tls` it can do it.
    pub offers_tls: bool,
    pub tls_first: bool,
    /// Offers AUTH, and whatever comes is right.
    pub offers_auth: bool,
    /// Answers that come with the one to STARTTLS, in clear.
    pub injected: &'static str,
    /// (command begins with, answers one after the other); then the ordinary answer.
    pub answers: Vec<(&'static str, Vec<&'static str>)>,
}

impl Default for Smtp {
    fn default() -> Self {
        Smtp {
            banner: "220 test ESMTP",
            tls: None,
            offers_tls: false,
            tls_first: false,
            offers_auth: false,
            injected: "",
            answers: Vec::new(),
        }
    }
}

/// Recipients and text.
pub type Mail = (Vec<String>, String);

pub struct SmtpServer {
    pub port: u16,
    /// Every line of the client's with whether it came under TLS; of a mail, all lines.
    pub lines: Arc<Mutex<Vec<(bool, String)>>>,
    /// Mails that were taken with a 250.
    pub mails: Arc<Mutex<Vec<Mail>>>,
}

impl SmtpServer {
    pub async fn start(smtp: Smtp) -> SmtpServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (lines, mails) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let answers = Arc::new(Mutex::new(smtp.answers.clone()));
        let (seen, taken) = (lines.clone(), mails.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let talk =
                    Talk { smtp: smtp.clone(), answers: answers.clone(), lines: seen.clone(), mails: taken.clone() };
                tokio::spawn(async move { talk.serve(stream).await });
            }
        });
        SmtpServer { port, lines, mails }
    }

    pub fn commands(&self) -> String {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .map(|(tls, line)| format!("{}{line}\n", if *tls { "*" } else { "" }))
            .collect()
    }

    pub fn taken(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

type Answers = Arc<Mutex<Vec<(&'static str, Vec<&'static str>)>>>;

struct Talk {
    smtp: Smtp,
    answers: Answers,
    lines: Arc<Mutex<Vec<(bool, String)>>>,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Talk {
    async fn serve(self, stream: TcpStream) -> io::Result<()> {
        if self.smtp.tls_first {
            let stream = self.smtp.tls.clone().unwrap().accept(stream).await?;
            return self.talk(stream, true, true).await.map(|_| ());
        }
        if let Some(stream) = self.talk(stream, false, true).await?
            && let Some(tls) = &self.smtp.tls
        {
            let stream = tls.accept(stream).await?;
            self.talk(stream, true, false).await?;
        }
        Ok(())
    }

    /// Gives the stream back when TLS is to begin.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        tls: bool,
        greets: bool,
    ) -> io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        if greets {
            stream.write_all(format!("{}\r\n", self.smtp.banner).as_bytes()).await?;
            stream.flush().await?;
        }
        let mut recipients = Vec::new();
        loop {
            let Some(line) = self.line(&mut stream, tls).await? else { return Ok(None) };
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let mut answer = match verb.as_str() {
                "EHLO" => {
                    let mut answer = String::from("250-test\r\n");
                    if self.smtp.offers_tls && !tls {
                        answer.push_str("250-STARTTLS\r\n");
                    }
                    if self.smtp.offers_auth {
                        answer.push_str("250-AUTH PLAIN LOGIN\r\n");
                    }
                    answer + "250 8BITMIME"
                }
                "STARTTLS" => "220 go ahead".into(),
                "AUTH" => "235 welcome".into(),
                "DATA" => "354 send it".into(),
                "QUIT" => "221 bye".into(),
                _ => "250 fine".to_string(),
            };
            if let Some(told) = self.told(&line) {
                answer = told.into();
            }
            if answer.is_empty() {
                return Ok(None);
            }
            if verb == "STARTTLS" {
                answer.push_str(self.smtp.injected);
            }
            if verb == "RCPT" && answer.starts_with("250") {
                recipients.push(line[8..].trim_matches(['<', '>']).to_string());
            }
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            stream.flush().await?;
            match verb.as_str() {
                "STARTTLS" if answer.starts_with("220") => return Ok(Some(stream.into_inner())),
                "QUIT" => return Ok(None),
                "DATA" if answer.starts_with("354") => {
                    let mut mail = String::new();
                    while let Some(line) = self.line(&mut stream, tls).await? {
                        if line == "." {
                            break;
                        }
                        mail.push_str(&line);
                        mail.push('\n');
                    }
                    let answer = self.told(".").unwrap_or("250 taken");
                    if answer.starts_with("250") || answer.is_empty() {
                        self.mails.lock().unwrap().push((std::mem::take(&mut recipients), mail));
                    }
                    if answer.is_empty() {
                        return Ok(None);
                    }
                    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
                    stream.flush().await?;
                }
                _ => {}
            }
        }
    }

    /// What the script has for this command; empty: close.
    fn told(&self, line: &str) -> Option<&'static str> {
        let mut answers = self.answers.lock().unwrap();
        let (_, told) = answers.iter_mut().find(|(begin, told)| line.starts_with(begin) && !told.is_empty())?;
        Some(told.remove(0))
    }

    async fn line<S: AsyncRead + Unpin>(&self, stream: &mut BufReader<S>, tls: bool) -> io::Result<Option<String>> {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        assert!(line.ends_with("\r\n") && !line[..line.len() - 2].contains(['\r', '\0']), "{line:?}");
        let line = line.trim_end_matches("\r\n").to_string();
        self.lines.lock().unwrap().push((tls, line.clone()));
        Ok(Some(line))
    }
}
