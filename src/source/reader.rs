//! The blocking way from bytes to batches, for files and stdin.
//!
//! Damage half-way (a cut archive, a failing disk) must neither lose what was read before it nor pass for the end of the
//! file. So the lines come first, with one reject that stands for the rest; then the error, once; then the end.

use crate::limits;
use crate::source::SourceError;
use crate::source::batch::{BROKEN_ARCHIVE, LineBatch};
use crate::source::frame::Framer;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// When a batch is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOver {
    /// When it is full: files, where nobody waits for a line.
    Full,
    /// After every read that ended a line: pipes and terminals, where the next read may wait for hours.
    AtOnce,
}

/// Reads one file or stdin to its end.
pub struct Reader {
    name: Arc<str>,
    bytes: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    framer: Framer,
    hand_over: HandOver,
    state: State,
    progress: Progress,
}

enum State {
    Reading,
    Failed(SourceError),
    Ended,
}

/// How far a reader is, for a progress bar: shared, because somebody else draws it.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
}

impl Progress {
    pub fn new(bytes_total: Option<u64>) -> Progress {
        Progress { bytes_read: Arc::default(), bytes_total }
    }

    /// Of an archive: compressed.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// None for pipes.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}

/// Counts the bytes that pass.
pub(super) struct Counted<R> {
    pub bytes: R,
    pub progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read(buffer)?;
        self.progress.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

impl Reader {
    pub fn new(
        name: &str,
        framer: Framer,
        bytes: Box<dyn Read + Send>,
        hand_over: HandOver,
        progress: Progress,
    ) -> Reader {
        Reader {
            name: name.into(),
            bytes,
            buffer: vec![0; limits::BATCH_BYTES],
            framer,
            hand_over,
            state: State::Reading,
            progress,
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Fills the batch with the next lines. False: there are no more. An error is about the rest of this file only; it
    /// comes once, after everything that could be read.
    pub fn next(&mut self, batch: &mut LineBatch) -> Result<bool, SourceError> {
        batch.clear();
        batch.name = Arc::clone(&self.name);
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(false),
                State::Failed(error) => return Err(error),
                State::Reading => self.state = State::Reading,
            }
            self.read(batch);
            let is_ready = match self.hand_over {
                HandOver::Full => batch.is_full(),
                HandOver::AtOnce => !batch.is_empty(),
            };
            let is_last = !matches!(self.state, State::Reading) && !batch.is_empty();
            if is_ready || is_last {
                return Ok(true);
            }
        }
    }

    fn read(&mut self, batch: &mut LineBatch) {
        match self.bytes.read(&mut self.buffer) {
            Ok(0) => {
                self.framer.finish(batch);
                self.state = State::Ended;
            }
            Ok(len) => self.framer.push(&self.buffer[..len], batch),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => {
                self.framer.finish(batch);
                let problem = format!("could not be read to its end: {error}");
                batch.reject(self.framer.settled_number() + 1, BROKEN_ARCHIVE, problem.as_bytes());
                self.state = State::Failed(SourceError {
                    place: self.name.to_string(),
                    problem,
                    advice: "what came before was read; fetch the file again, or repair it".into(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads that return what the test says, in pieces.
    struct Script(std::vec::IntoIter<io::Result<&'static [u8]>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.next().unwrap_or(Ok(b""))?;
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn check(hand_over: HandOver, script: Vec<io::Result<&'static [u8]>>, expected: &[&str]) {
        let framer = Framer::new(0, 100);
        let mut reader =
            Reader::new("x.log", framer, Box::new(Script(script.into_iter())), hand_over, Progress::default());
        let mut batch = LineBatch::default();
        let mut seen = Vec::new();
        loop {
            match reader.next(&mut batch) {
                Ok(false) => break,
                Ok(true) => {
                    let lines = batch.lines().map(|it| it.text.to_owned());
                    let rejects = batch.rejects().map(|it| format!("{}!{}", it.number, it.reason));
                    seen.push(lines.chain(rejects).collect::<Vec<_>>().join(" + "));
                }
                Err(error) => seen.push(error.to_string()),
            }
        }
        assert_eq!(seen, expected);
        assert!(matches!(reader.next(&mut batch), Ok(false)), "the end stays the end");
    }

    #[test]
    fn batches_end_where_somebody_waits() {
        let script = || vec![Ok(b"a\nb\nc".as_slice()), Ok(b"c"), Ok(b"\n"), Ok(b"d")];
        check(HandOver::AtOnce, script(), &["a + b", "cc", "d"]);
        check(HandOver::Full, script(), &["a + b + cc + d"]);
        check(HandOver::AtOnce, vec![], &[]);
    }

    #[test]
    fn damage_comes_after_what_could_be_read_and_once() {
        let interrupted = || Err(io::Error::from(io::ErrorKind::Interrupted));
        let script =
            vec![Ok(b"a\n".as_slice()), interrupted(), Ok(b"b"), Err(io::Error::other("bad sector")), Ok(b"never")];
        let error = "x.log: could not be read to its end: bad sector; what came before was read; fetch the file again, or repair it";
        check(HandOver::Full, script, &["a + b + 3!broken-archive", error]);
    }
}
