//! Lines over TCP, from many clients at once.
//!
//! A connection is somebody else's promise to send and to stop. Ten thousand that send nothing, or one byte a minute, must
//! not keep an honest client out, so silence and slowness have limits; when all places are taken, the connection whose last
//! complete line is oldest gives up its own. Nothing is ever dropped because we are slow: the channel is full, we stop
//! reading, and TCP tells the sender.
//!
//! A connection keeps only the line that has begun. Its read buffer exists while there is something to read, so idle ones
//! cost a task and nothing else.
//!
//! With `ack: true` a client can know what would survive our death. It says `HELLO name next`; we answer with the number we
//! want, and `ACK n` when everything up to line n is committed. One client has one writer: a second connection under the same
//! name ends the first, and begins where that one stopped.

use crate::limits;
use crate::source::batch::LineBatch;
use crate::source::frame::{Framer, Framing};
use crate::source::receipt::Receipt;
use crate::source::{SourceError, SourceSpec, cannot_listen};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Sleep, sleep, timeout};

pub const SPEC: SourceSpec = SourceSpec {
    name: "Tcp",
    about: "Lines over TCP, ending in LF or CR LF, or as octet-counted syslog. With `ack: true` clients are told what is committed.",
    example: r#"Tcp(listen: "127.0.0.1:7171", ack: true)"#,
};

/// Bytes read before they are handed over. Connections times this is the most that waits outside the channel.
const READ_BYTES: usize = 16 << 10;
const BATCH_BYTES: usize = 64 << 10;
/// Bytes of one connection still taken at shutdown: more than the kernel holds for it.
const DRAIN_BYTES: usize = 8 << 20;
/// How long a connection must be quiet at shutdown to be taken for read.
const LINGER: Duration = Duration::from_millis(50);
/// A greeting: the word, a name and a number.
const GREETING_BYTES_MAX: usize = 256;
const CLIENT_NAME_BYTES_MAX: usize = 128;

/// What was committed for a client that says who it is. The runtime answers from the store.
pub trait Ledger: Send + Sync {
    /// The last line committed for this client; 0 if it is not known.
    fn committed(&self, client: &str) -> u64;
}

/// Nothing is remembered over a restart.
pub struct NoLedger;

impl Ledger for NoLedger {
    fn committed(&self, _client: &str) -> u64 {
        0
    }
}

#[derive(Debug, Clone)]
pub struct TcpSettings {
    /// By its place in the configuration.
    pub source: u16,
    /// `address:port`; port 0 takes any free one.
    pub listen: String,
    /// Instead of `tcp:<peer>`.
    pub name: Option<String>,
    pub acknowledge: Acknowledge,
    pub line_bytes_max: usize,
    pub connections_max: usize,
    /// Lines that have begun, over all connections.
    pub held_bytes_max: usize,
    /// From connecting to the first byte.
    pub first_byte: Duration,
    /// From a line's first byte to its last; also how long an answer may take to be read.
    pub started_line: Duration,
    /// How long a counted message with line feeds in it waits to be confirmed by the next one.
    pub proof: Duration,
    /// How long a client that half-closed is kept at shutdown, to hear its last `ACK`.
    pub farewell: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    Never,
    WhenCommitted,
}

impl TcpSettings {
    pub fn new(source: u16, listen: &str, acknowledge: Acknowledge) -> TcpSettings {
        TcpSettings {
            source,
            listen: listen.to_owned(),
            name: None,
            acknowledge,
            line_bytes_max: limits::LINE_BYTES_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            held_bytes_max: limits::HELD_BYTES_MAX,
            first_byte: Duration::from_secs(10),
            started_line: Duration::from_secs(30),
            proof: Duration::from_millis(500),
            farewell: Duration::from_secs(2),
        }
    }
}

/// Counts for `/metrics`; only ever read from outside.
#[derive(Debug, Default)]
pub struct TcpStats {
    pub connections_open: AtomicUsize,
    pub connections_accepted: AtomicU64,
    /// Closed for a newer one, because all places were taken.
    pub closed_when_full: AtomicU64,
    /// Closed because a first byte or a line's end did not come.
    pub closed_when_slow: AtomicU64,
    /// Closed because lines that have begun filled the memory for them.
    pub closed_when_heavy: AtomicU64,
    /// Closed because the greeting was wrong.
    pub closed_when_rude: AtomicU64,
    pub held_bytes: AtomicUsize,
}

pub struct Listener {
    socket: TcpListener,
    shared: Arc<Shared>,
}

/// What connections have in common.
struct Shared {
    settings: TcpSettings,
    ledger: Arc<dyn Ledger>,
    stats: Arc<TcpStats>,
    /// Orders complete lines over all connections, without a clock.
    lines_taken: AtomicU64,
    /// Locked for a greeting, never for a line.
    clients: Mutex<HashMap<Arc<str>, Arc<Client>>>,
}

/// A client with a name, over all its connections.
struct Client {
    name: Arc<str>,
    /// Held by its one writer: the last line taken from it.
    taken: Arc<tokio::sync::Mutex<u64>>,
    committed: watch::Sender<u64>,
    /// Rises with every connection of this name; the one that sees it rise ends.
    connections: watch::Sender<u64>,
}

/// What the accept loop knows of a connection.
struct Peer {
    arrival: u64,
    /// The order of its last complete line; connections that never sent one are the oldest.
    last_line: AtomicU64,
    close: Notify,
}

impl Listener {
    pub async fn bind(settings: TcpSettings, ledger: Arc<dyn Ledger>) -> Result<Listener, SourceError> {
        let socket =
            TcpListener::bind(&settings.listen).await.map_err(|it| cannot_listen("tcp", &settings.listen, &it))?;
        let stats = Arc::default();
        let shared = Shared { settings, ledger, stats, lines_taken: AtomicU64::new(0), clients: Mutex::default() };
        Ok(Listener { socket, shared: Arc::new(shared) })
    }

    /// The address in use, which matters after asking for port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn stats(&self) -> Arc<TcpStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Accepts until `stop` becomes true, then takes what has arrived, and ends when every connection has. Its tasks are
    /// its own and end with it.
    pub async fn run(self, to: mpsc::Sender<LineBatch>, mut stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let mut peers: HashMap<Id, Arc<Peer>> = HashMap::new();
        let stats = self.stats();
        let mut arrivals = 0..;
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    };
                    peers.remove(&id);
                    stats.connections_open.store(peers.len(), Ordering::Relaxed);
                }
                accepted = self.socket.accept() => {
                    let Ok((stream, address)) = accepted else {
                        // Out of file descriptors, or the client was gone again: the next may do better.
                        sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    stats.connections_accepted.fetch_add(1, Ordering::Relaxed);
                    if peers.len() >= self.shared.settings.connections_max {
                        self.close_oldest(&mut peers);
                    }
                    let arrival = arrivals.next().unwrap_or_default();
                    let peer = Arc::new(Peer { arrival, last_line: AtomicU64::new(0), close: Notify::new() });
                    let connection = Connection::new(Arc::clone(&self.shared), Arc::clone(&peer), address, to.clone());
                    let task = tasks.spawn(connection.serve(stream, stop.clone()));
                    peers.insert(task.id(), peer);
                    stats.connections_open.store(peers.len(), Ordering::Relaxed);
                }
            }
        }
        drop(self.socket);
        while tasks.join_next().await.is_some() {}
        stats.connections_open.store(0, Ordering::Relaxed);
    }

    fn close_oldest(&self, peers: &mut HashMap<Id, Arc<Peer>>) {
        // Among those that never sent a line: the one that waits longest.
        let age = |peer: &Peer| (peer.last_line.load(Ordering::Relaxed), peer.arrival);
        if let Some(id) = peers.iter().min_by_key(|it| age(it.1)).map(|it| *it.0)
            && let Some(peer) = peers.remove(&id)
        {
            peer.close.notify_one();
            self.shared.stats.closed_when_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender is a stop, too: nobody is left to say it.
    let _ = stop.wait_for(|it| *it).await;
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client said that it is done, or we stop: what has begun is a line.
    Whole,
    /// It was cut off. A client that resends will send the begun line again, whole.
    Cut,
    /// Nobody takes batches any more.
    Closed,
}

struct Connection {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    to: mpsc::Sender<LineBatch>,
    name: Arc<str>,
    framer: Framer,
    /// The bytes of what may be a greeting; None once that is settled.
    greeting: Option<Vec<u8>>,
    writer: Option<Writer>,
    committed: watch::Sender<u64>,
    /// Not one byte has come.
    is_silent: bool,
    /// The last line handed over.
    taken: u64,
    /// The last line acknowledged.
    acknowledged: u64,
    held_bytes: usize,
}

/// The right to be the one writer of a named client.
struct Writer {
    client: Arc<Client>,
    taken: tokio::sync::OwnedMutexGuard<u64>,
    /// Its place among the client's connections.
    connection: u64,
}

impl Connection {
    fn new(shared: Arc<Shared>, peer: Arc<Peer>, address: SocketAddr, to: mpsc::Sender<LineBatch>) -> Connection {
        let settings = &shared.settings;
        let name = settings.name.clone().unwrap_or_else(|| format!("tcp:{address}"));
        let framer = Framer::new(settings.source, settings.line_bytes_max).with_framing(Framing::LinesOrOctets);
        let greeting = match settings.acknowledge {
            Acknowledge::Never => None,
            Acknowledge::WhenCommitted => Some(Vec::new()),
        };
        Connection {
            name: name.into(),
            framer,
            greeting,
            writer: None,
            committed: watch::Sender::new(0),
            is_silent: true,
            taken: 0,
            acknowledged: 0,
            held_bytes: 0,
            shared,
            peer,
            to,
        }
    }

    async fn serve(mut self, stream: TcpStream, mut stop: watch::Receiver<bool>) {
        let (mut read, mut write) = stream.into_split();
        let end = self.receive(&mut read, &mut write, &mut stop).await;
        if end != End::Closed && self.finish(end).await && end == End::Whole {
            self.say_the_rest(&mut write, &stop).await;
        }
        self.hold(0);
    }

    async fn receive(
        &mut self,
        read: &mut OwnedReadHalf,
        write: &mut OwnedWriteHalf,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let stats = Arc::clone(&self.shared.stats);
        let mut acks = self.committed.subscribe();
        let mut timer = Timer::FirstByte;
        let mut alarm = self.alarm(timer);
        loop {
            let mut newer = self.writer.as_ref().map(|it| (it.client.connections.subscribe(), it.connection));
            let replaced = async {
                match &mut newer {
                    Some((connections, own)) => drop(connections.wait_for(|it| it != own).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.peer.close.notified() => return End::Cut,
                () = replaced => return End::Cut,
                () = stopped(stop) => return self.drain(read).await,
                Ok(()) = acks.changed() => {
                    let upto = *acks.borrow_and_update();
                    if !self.acknowledge(write, upto).await {
                        return End::Cut;
                    }
                }
                () = async { match alarm.as_mut() { Some(it) => it.await, None => std::future::pending().await } } => {
                    if timer != Timer::Proof {
                        stats.closed_when_slow.fetch_add(1, Ordering::Relaxed);
                        return End::Cut;
                    }
                    let mut batch = LineBatch::default();
                    self.framer.settle(&mut batch);
                    if !self.hand_over(batch).await {
                        return End::Closed;
                    }
                    timer = self.timer();
                    alarm = self.alarm(timer);
                }
                ready = read.readable() => {
                    if ready.is_err() {
                        return End::Cut;
                    }
                    let lines_before = self.taken;
                    if let Filled::Ended(end) = self.read_waiting(read).await {
                        return end;
                    }
                    match self.greet(write).await {
                        Greeting::None => (),
                        Greeting::Said => {
                            let client = &self.writer.as_ref().expect("a greeting makes a writer").client;
                            acks = client.committed.subscribe();
                            acks.mark_changed();
                            if *acks.borrow() == 0 {
                                acks.mark_unchanged();
                            }
                        }
                        Greeting::Wrong => return End::Cut,
                        Greeting::Closed => return End::Closed,
                    }
                    if self.is_too_heavy() {
                        stats.closed_when_heavy.fetch_add(1, Ordering::Relaxed);
                        return End::Cut;
                    }
                    let next = self.timer();
                    // A line's time begins with the line, not with its latest byte.
                    if next != timer || self.taken != lines_before {
                        timer = next;
                        alarm = self.alarm(timer);
                    }
                }
            }
        }
    }

    /// Takes some of what has arrived, and hands it over. Only some: a client that never pauses must still be told.
    async fn read_waiting(&mut self, read: &mut OwnedReadHalf) -> Filled {
        let mut batch = LineBatch::default();
        let filled = self.fill(read, &mut batch);
        if self.hand_over(batch).await { filled } else { Filled::Ended(End::Closed) }
    }

    /// Takes what arrived before we stop; a client that never pauses does not keep us.
    async fn drain(&mut self, read: &mut OwnedReadHalf) -> End {
        for _ in 0..DRAIN_BYTES / BATCH_BYTES {
            // What the kernel holds counts as arrived, and only waiting a moment tells.
            if timeout(LINGER, read.readable()).await.is_err() {
                break;
            }
            match self.read_waiting(read).await {
                Filled::More | Filled::Empty if self.greeting.is_none() => (),
                Filled::More | Filled::Empty => break,
                Filled::Ended(end) => return end,
            }
        }
        End::Whole
    }

    /// Not asynchronous, so that the buffer is on the stack only now.
    fn fill(&mut self, read: &mut OwnedReadHalf, batch: &mut LineBatch) -> Filled {
        let mut buffer = [0; READ_BYTES];
        while batch.bytes() < BATCH_BYTES {
            match read.try_read(&mut buffer) {
                Ok(0) => return Filled::Ended(End::Whole),
                Ok(len) => {
                    self.is_silent = false;
                    if let Some(greeting) = &mut self.greeting {
                        greeting.extend_from_slice(&buffer[..len]);
                        return Filled::More;
                    }
                    self.framer.push(&buffer[..len], batch);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Filled::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(_) => return Filled::Ended(End::Cut),
            }
        }
        Filled::More
    }

    /// False: nobody takes batches any more.
    async fn hand_over(&mut self, mut batch: LineBatch) -> bool {
        let upto = self.framer.settled_number();
        self.hold(self.framer.held_bytes() + batch.bytes());
        if upto == self.taken && batch.is_empty() {
            return true;
        }
        self.taken = upto;
        batch.name = Arc::clone(&self.name);
        self.peer.last_line.store(self.shared.lines_taken.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        if self.shared.settings.acknowledge == Acknowledge::WhenCommitted {
            let (client, committed) = match &mut self.writer {
                Some(it) => {
                    *it.taken = upto;
                    (Some(Arc::clone(&it.client.name)), it.client.committed.clone())
                }
                None => (None, self.committed.clone()),
            };
            batch.receipt = Some(Receipt::new(client, upto, committed));
        }
        let is_open = self.to.send(batch).await.is_ok();
        self.hold(self.framer.held_bytes());
        is_open
    }

    /// Looks for a greeting in the first bytes; anything else is lines.
    async fn greet(&mut self, write: &mut OwnedWriteHalf) -> Greeting {
        let Some(greeting) = &self.greeting else { return Greeting::None };
        let parsed = match parse_greeting(greeting) {
            Parsed::Unknown => return Greeting::None,
            Parsed::NoGreeting => Ok(None),
            Parsed::Wrong(problem) => Err(problem),
            Parsed::Hello { client, next, len } => Ok(Some((client.to_owned(), next, len))),
        };
        let bytes = self.greeting.take().unwrap_or_default();
        let (answer, rest, result) = match parsed {
            Err(problem) => (Some(format!("ERR {problem}\n")), &[][..], Greeting::Wrong),
            Ok(None) => (None, &bytes[..], Greeting::None),
            Ok(Some((client, next, len))) => match self.become_writer(&client).await {
                Err(problem) => (Some(format!("ERR {problem}\n")), &[][..], Greeting::Wrong),
                Ok(known) => {
                    let wanted = if known == 0 { next } else { known + 1 };
                    let settings = &self.shared.settings;
                    self.framer = Framer::new(settings.source, settings.line_bytes_max)
                        .with_framing(Framing::LinesOrOctets)
                        .with_next_number(wanted);
                    self.taken = wanted - 1;
                    (Some(format!("OK {wanted}\n")), &bytes[len..], Greeting::Said)
                }
            },
        };
        if result == Greeting::Wrong {
            self.shared.stats.closed_when_rude.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(answer) = answer
            && !say(write, &answer, self.shared.settings.started_line).await
        {
            return Greeting::Closed;
        }
        let mut batch = LineBatch::default();
        self.framer.push(rest, &mut batch);
        if self.hand_over(batch).await { result } else { Greeting::Closed }
    }

    /// Ends the client's other connection, waits for it, and says which line was its last.
    async fn become_writer(&mut self, name: &str) -> Result<u64, &'static str> {
        let client = {
            let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
            match clients.get(name) {
                Some(it) => Arc::clone(it),
                None if clients.len() >= limits::CLIENTS_MAX => return Err("too many client names"),
                None => {
                    let committed = self.shared.ledger.committed(name);
                    let client = Arc::new(Client {
                        name: name.into(),
                        taken: Arc::new(tokio::sync::Mutex::new(committed)),
                        committed: watch::Sender::new(committed),
                        connections: watch::Sender::new(0),
                    });
                    clients.insert(Arc::clone(&client.name), Arc::clone(&client));
                    client
                }
            }
        };
        let mut connection = 0;
        client.connections.send_modify(|it| {
            *it += 1;
            connection = *it;
        });
        let taken = timeout(self.shared.settings.started_line, Arc::clone(&client.taken).lock_owned()).await;
        let taken = taken.map_err(|_| "the client's other connection does not end; try again")?;
        let known = *taken;
        self.name = format!("tcp:{name}").into();
        if let Some(name) = &self.shared.settings.name {
            self.name = name.as_str().into();
        }
        self.writer = Some(Writer { client, taken, connection });
        Ok(known)
    }

    /// The last bytes. False: nobody takes batches any more.
    async fn finish(&mut self, end: End) -> bool {
        let mut batch = LineBatch::default();
        if let Some(greeting) = self.greeting.take() {
            self.framer.push(&greeting, &mut batch);
        }
        // Without acknowledgements nobody will send the begun line again; half of it is better than nothing.
        if end == End::Whole || self.shared.settings.acknowledge == Acknowledge::Never {
            self.framer.finish(&mut batch);
        }
        self.hand_over(batch).await
    }

    /// After a half-close the client still listens: it wants to hear that all of it is committed.
    async fn say_the_rest(&mut self, write: &mut OwnedWriteHalf, stop: &watch::Receiver<bool>) {
        let upto = self.taken;
        // It has no more to say, so its next connection need not wait for this one.
        let mut acks = match self.writer.take() {
            Some(it) => it.client.committed.subscribe(),
            None => self.committed.subscribe(),
        };
        let settings = &self.shared.settings;
        if settings.acknowledge == Acknowledge::Never || self.acknowledged >= upto {
            return;
        }
        let wait = if *stop.borrow() { settings.farewell } else { settings.started_line };
        let committed = async { acks.wait_for(|it| *it >= upto).await.is_ok() };
        let is_committed = tokio::select! {
            () = self.peer.close.notified() => false,
            it = timeout(wait, committed) => it.unwrap_or(false),
        };
        if is_committed {
            self.acknowledge(write, upto).await;
        }
    }

    /// False: the client does not listen.
    async fn acknowledge(&mut self, write: &mut OwnedWriteHalf, upto: u64) -> bool {
        if self.shared.settings.acknowledge == Acknowledge::Never || upto <= self.acknowledged {
            return true;
        }
        self.acknowledged = upto;
        say(write, &format!("ACK {upto}\n"), self.shared.settings.started_line).await
    }

    /// What this connection waits for, and may not wait for too long.
    fn timer(&self) -> Timer {
        if self.is_silent {
            // Readiness is only a hint: it also comes when there is nothing to read.
            Timer::FirstByte
        } else if self.framer.is_waiting_for_proof() {
            Timer::Proof
        } else if self.framer.is_inside_line() || self.greeting.as_ref().is_some_and(|it| !it.is_empty()) {
            Timer::LineEnd
        } else {
            Timer::None
        }
    }

    fn alarm(&self, timer: Timer) -> Option<Pin<Box<Sleep>>> {
        let settings = &self.shared.settings;
        let wait = match timer {
            Timer::None => return None,
            Timer::FirstByte => settings.first_byte,
            Timer::LineEnd => settings.started_line,
            Timer::Proof => settings.proof,
        };
        Some(Box::pin(sleep(wait)))
    }

    fn hold(&mut self, bytes: usize) {
        let total = &self.shared.stats.held_bytes;
        total.fetch_add(bytes, Ordering::Relaxed);
        total.fetch_sub(self.held_bytes, Ordering::Relaxed);
        self.held_bytes = bytes;
    }

    /// Memory is short, and this connection has more than its share. One with an ordinary line never has.
    fn is_too_heavy(&self) -> bool {
        let settings = &self.shared.settings;
        let share = settings.held_bytes_max / settings.connections_max.max(1);
        self.held_bytes > share && self.shared.stats.held_bytes.load(Ordering::Relaxed) > settings.held_bytes_max
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// Between lines: as long as it likes, while there is room.
    None,
    FirstByte,
    LineEnd,
    Proof,
}

enum Filled {
    More,
    Empty,
    Ended(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    None,
    Said,
    Wrong,
    Closed,
}

/// False: the client does not listen.
async fn say(write: &mut OwnedWriteHalf, text: &str, wait: Duration) -> bool {
    matches!(timeout(wait, write.write_all(text.as_bytes())).await, Ok(Ok(())))
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed<'a> {
    Unknown,
    NoGreeting,
    Wrong(&'static str),
    Hello { client: &'a str, next: u64, len: usize },
}

fn parse_greeting(bytes: &[u8]) -> Parsed<'_> {
    const HELLO: &[u8] = b"HELLO ";
    if !bytes.starts_with(HELLO) {
        return if HELLO.starts_with(bytes) { Parsed::Unknown } else { Parsed::NoGreeting };
    }
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(GREETING_BYTES_MAX)]) else {
        return if bytes.len() < GREETING_BYTES_MAX {
            Parsed::Unknown
        } else {
            Parsed::Wrong("the greeting is too long")
        };
    };
    let words = std::str::from_utf8(&bytes[HELLO.len()..end]).unwrap_or_default().trim_ascii_end();
    let Some((client, next)) = words.split_once(' ') else {
        return Parsed::Wrong("write HELLO, a client name and the number of the next line");
    };
    if client.is_empty() || client.len() > CLIENT_NAME_BYTES_MAX || !client.bytes().all(|it| it.is_ascii_graphic()) {
        return Parsed::Wrong("a client name has 1 to 128 visible ASCII characters");
    }
    match next.parse() {
        Ok(next) if next >= 1 => Parsed::Hello { client, next, len: end + 1 },
        Ok(_) | Err(_) => Parsed::Wrong("lines are numbered from 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

    struct Server {
        address: SocketAddr,
        batches: mpsc::Receiver<LineBatch>,
        stats: Arc<TcpStats>,
        stop: watch::Sender<bool>,
        running: tokio::task::JoinHandle<()>,
    }

    /// Remembers as if it had been restarted after 20 lines of `old`.
    struct Remembers;

    impl Ledger for Remembers {
        fn committed(&self, client: &str) -> u64 {
            if client == "old" { 20 } else { 0 }
        }
    }

    impl Server {
        async fn start(acknowledge: Acknowledge, change: impl FnOnce(&mut TcpSettings)) -> Server {
            let mut settings = TcpSettings::new(5, "127.0.0.1:0", acknowledge);
            change(&mut settings);
            let listener = Listener::bind(settings, Arc::new(Remembers)).await.expect("a free port");
            let (to, batches) = mpsc::channel(limits::BATCHES_WAITING_MAX);
            let (stop, stopped) = watch::channel(false);
            let (address, stats) = (listener.address().expect("an address"), listener.stats());
            Server { address, batches, stats, stop, running: tokio::spawn(listener.run(to, stopped)) }
        }

        async fn client(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("the server listens")
        }

        async fn batch(&mut self) -> LineBatch {
            self.batches.recv().await.expect("the server runs")
        }

        /// Takes batches until there were that many lines, commits them, and shows them.
        async fn lines(&mut self, count: usize) -> Vec<String> {
            let mut seen = Vec::new();
            while seen.len() < count {
                let mut batch = self.batch().await;
                assert_eq!(batch.source, 5);
                seen.extend(batch.lines().map(|it| format!("{}:{}", it.number, it.text)));
                seen.extend(batch.rejects().map(|it| format!("{}!{}", it.number, it.reason)));
                if let Some(receipt) = batch.receipt.take() {
                    receipt.committed();
                }
            }
            seen
        }

        async fn end(mut self) -> Vec<String> {
            let _ = self.stop.send(true);
            let mut seen = Vec::new();
            while let Some(batch) = self.batches.recv().await {
                seen.extend(batch.lines().map(|it| format!("{}:{}", it.number, it.text)));
            }
            self.running.await.expect("no panic");
            assert_eq!(self.stats.held_bytes.load(Ordering::Relaxed), 0, "what is held is given back");
            seen
        }
    }

    async fn write(to: &mut TcpStream, bytes: &[u8]) {
        to.write_all(bytes).await.expect("the server reads");
    }

    async fn is_closed(client: &mut TcpStream) -> bool {
        matches!(client.read(&mut [0; 100]).await, Ok(0) | Err(_))
    }

    #[tokio::test]
    async fn each_client_has_its_own_lines() {
        let mut server = Server::start(Acknowledge::Never, |_| ()).await;
        let (mut one, mut two) = (server.client().await, server.client().await);
        write(&mut one, b"half of").await;
        write(&mut two, b"two\r\n").await;
        let batch = server.batch().await;
        assert_eq!(*batch.name, *format!("tcp:{}", two.local_addr().expect("an address")));
        assert!(batch.receipt.is_none());
        write(&mut one, b" one\n\n5 <1>ab6 <1>c\ndend").await;
        assert_eq!(server.lines(3).await, ["1:half of one", "3:<1>ab", "4:<1>c"]);
        one.shutdown().await.expect("half-close");
        assert_eq!(server.lines(1).await, ["5:dend"]);
    }

    #[tokio::test]
    async fn a_half_close_loses_nothing() {
        let mut server = Server::start(Acknowledge::Never, |_| ()).await;
        let mut client = server.client().await;
        let text: String = (1..=50_000).map(|it| format!("line {it} of many\n")).collect();
        let sending = tokio::spawn(async move {
            write(&mut client, text.trim_end().as_bytes()).await;
            client.shutdown().await.expect("half-close");
            is_closed(&mut client).await
        });
        let seen = server.lines(50_000).await;
        assert_eq!((seen.len(), &*seen[0], &*seen[49_999]), (50_000, "1:line 1 of many", "50000:line 50000 of many"));
        assert!(sending.await.expect("no panic"));
        assert!(server.end().await.is_empty());
    }

    #[tokio::test]
    async fn a_stop_takes_what_has_arrived() {
        let mut server = Server::start(Acknowledge::Never, |_| ()).await;
        let mut client = server.client().await;
        write(&mut client, b"one\n").await;
        assert_eq!(server.lines(1).await, ["1:one"]);
        write(&mut client, b"two\nthree").await;
        assert_eq!(server.end().await, ["2:two", "3:three"]);
    }

    #[tokio::test]
    async fn silence_and_slowness_end() {
        let limits = |it: &mut TcpSettings| {
            (it.first_byte, it.started_line) = (Duration::from_millis(300), Duration::from_millis(50))
        };
        let mut server = Server::start(Acknowledge::Never, limits).await;
        let mut silent = server.client().await;
        let mut slow = server.client().await;
        write(&mut slow, b"begun").await;
        assert!(is_closed(&mut silent).await);
        assert_eq!(server.lines(1).await, ["1:begun"]);
        assert!(is_closed(&mut slow).await);
        assert_eq!(server.stats.closed_when_slow.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_oldest_gives_up_its_place() {
        let mut server = Server::start(Acknowledge::Never, |it| it.connections_max = 2).await;
        let mut honest = server.client().await;
        write(&mut honest, b"one\n").await;
        server.lines(1).await;
        let mut first = server.client().await;
        let mut second = server.client().await;
        assert!(is_closed(&mut first).await);
        write(&mut second, b"x\n").await;
        write(&mut honest, b"two\n").await;
        let mut seen = server.lines(2).await;
        seen.sort();
        assert_eq!(seen, ["1:x", "2:two"]);
        assert_eq!(server.stats.closed_when_full.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn those_who_hold_too_much_are_closed() {
        let settings = |it: &mut TcpSettings| (it.held_bytes_max, it.connections_max) = (100_000, 100);
        let mut server = Server::start(Acknowledge::Never, settings).await;
        let mut honest = server.client().await;
        write(&mut honest, b"half").await;
        let mut heavy = server.client().await;
        let _ = heavy.write_all(&[b'x'; 400_000]).await;
        assert!(is_closed(&mut heavy).await);
        write(&mut honest, b" a line\n").await;
        let seen = server.lines(2).await;
        assert!(seen.contains(&"1:half a line".to_owned()), "{} lines", seen.len());
        assert_eq!(server.stats.closed_when_heavy.load(Ordering::Relaxed), 1);
    }

    async fn say_and_hear(client: &mut BufReader<TcpStream>, say: &str, hear: &str) {
        write(client.get_mut(), say.as_bytes()).await;
        for expected in hear.lines() {
            let mut line = String::new();
            client.read_line(&mut line).await.expect("the server answers");
            assert_eq!(line.trim_end(), expected, "after {say:?}");
        }
    }

    #[tokio::test]
    async fn committed_lines_are_acknowledged() {
        let mut server = Server::start(Acknowledge::WhenCommitted, |_| ()).await;
        let mut client = BufReader::new(server.client().await);
        say_and_hear(&mut client, "a\n\nb\n", "").await;
        assert_eq!(server.lines(2).await, ["1:a", "3:b"]);
        say_and_hear(&mut client, "c", "ACK 3").await;
        client.get_mut().shutdown().await.expect("half-close");
        assert_eq!(server.lines(1).await, ["4:c"]);
        say_and_hear(&mut client, "", "ACK 4").await;
        assert!(is_closed(client.get_mut()).await);
    }

    #[tokio::test]
    async fn a_client_with_a_name_continues() {
        let mut server = Server::start(Acknowledge::WhenCommitted, |_| ()).await;
        let mut new = BufReader::new(server.client().await);
        say_and_hear(&mut new, "HELLO shipper 8\n", "OK 8").await;
        say_and_hear(&mut new, "h\ni\nhalf of j", "").await;
        let uncommitted = server.batch().await;
        assert_eq!((&*uncommitted.name, uncommitted.receipt.as_ref().map(|it| it.upto)), ("tcp:shipper", Some(9)));

        // It comes again while its first connection is open: that one ends, and its half line is nobody's.
        let mut again = BufReader::new(server.client().await);
        say_and_hear(&mut again, "HELLO shipper 9\r\n", "OK 10").await;
        assert!(is_closed(new.get_mut()).await);
        uncommitted.receipt.expect("a receipt").committed();
        say_and_hear(&mut again, "j\n", "ACK 9").await;
        assert_eq!(server.lines(1).await, ["10:j"]);
        say_and_hear(&mut again, "", "ACK 10").await;

        let mut old = BufReader::new(server.client().await);
        say_and_hear(&mut old, "HELLO old 1\n", "OK 21\nACK 20").await;
        let mut rude = BufReader::new(server.client().await);
        say_and_hear(&mut rude, "HELLO rude\n", "ERR write HELLO, a client name and the number of the next line").await;
        assert!(is_closed(rude.get_mut()).await);
        let mut plain = BufReader::new(server.client().await);
        say_and_hear(&mut plain, "HELLOS\n", "").await;
        assert_eq!(server.lines(1).await, ["1:HELLOS"]);
        say_and_hear(&mut plain, "", "ACK 1").await;
    }

    #[test]
    fn greetings() {
        let wrong = |it: &[u8]| matches!(parse_greeting(it), Parsed::Wrong(_));
        assert_eq!(parse_greeting(b"HELLO a 1\nrest"), Parsed::Hello { client: "a", next: 1, len: 10 });
        assert_eq!(parse_greeting(b""), Parsed::Unknown);
        assert_eq!(parse_greeting(b"HELLO a 1"), Parsed::Unknown);
        assert_eq!(parse_greeting(b"HELP"), Parsed::NoGreeting);
        assert!(wrong(b"HELLO \n") && wrong(b"HELLO a 0\n") && wrong(b"HELLO a b 1\n") && wrong(b"HELLO \xff 1\n"));
        assert!(wrong(&[b"HELLO ".as_slice(), &[b'x'; 300]].concat()) && wrong(b"HELLO a 99999999999999999999\n"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let server = Server::start(Acknowledge::Never, |_| ()).await;
        let settings = TcpSettings::new(0, &server.address.to_string(), Acknowledge::Never);
        let error = Listener::bind(settings, Arc::new(NoLedger)).await.err().expect("the port is in use");
        assert!(error.to_string().contains("end the other program"), "{error}");
    }
}
