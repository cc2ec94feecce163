//! Lines over HTTP: a request is one batch, and its answer says that it is committed.
//!
//! The listener is the page for machines' own; here is what becomes of a body. It is taken whole or not at all: a body of
//! which half is counted could be neither refused nor sent again.

use crate::limits;
use crate::source::SourceSpec;
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;
use crate::source::receipt::{Judgement, Receipt};
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub const SPEC: SourceSpec = SourceSpec {
    name: "Http",
    about: "Lines by `POST /ingest` on the `web` listener, which takes them without this entry, too: it says how they are read, and that the program waits for them.",
    example: "Http()",
};

/// How long a body waits for the engine to have room for it, and then for its commit.
const ROOM: Duration = Duration::from_secs(5);
const COMMIT: Duration = Duration::from_secs(30);

/// Where bodies become batches.
pub struct Intake {
    source: u16,
    name: Arc<str>,
    line_bytes_max: usize,
    /// Weak: a listener alone does not keep a run going.
    to: mpsc::WeakSender<LineBatch>,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Judged, and on disk where there is state.
    Committed { accepted: u64, rejected: u64 },
    /// Nothing was taken: the engine is busy, or ends.
    Busy,
    /// Nothing was taken: it is longer than a body may be, once unpacked.
    TooLarge,
    /// Nothing was taken: it is not what its encoding says.
    Broken,
    /// It was taken, and whether it will be committed is not known yet.
    Unknown,
}

impl Intake {
    pub fn new(source: u16, name: Option<&str>, line_bytes_max: usize, to: mpsc::WeakSender<LineBatch>) -> Intake {
        Intake { source, name: name.unwrap_or("http").into(), line_bytes_max, to }
    }

    /// Takes the lines of a body, and waits until they are safe.
    pub async fn take(&self, body: &[u8], is_gzip: bool) -> Taken {
        let (mut framer, mut batch) = (Framer::new(self.source, self.line_bytes_max), LineBatch::default());
        match is_gzip {
            false => framer.push(body, &mut batch),
            true => match unpack(body, &mut framer, &mut batch) {
                Ok(true) => (),
                Ok(false) => return Taken::TooLarge,
                Err(_) => return Taken::Broken,
            },
        }
        framer.finish(&mut batch);
        if batch.is_empty() {
            return Taken::Committed { accepted: 0, rejected: 0 };
        }
        let Some(to) = self.to.upgrade() else { return Taken::Busy };
        let Ok(Ok(place)) = timeout(ROOM, to.reserve()).await else { return Taken::Busy };
        let (committed, mut heard) = watch::channel(0);
        let judgement = Arc::new(Judgement::default());
        batch.name = Arc::clone(&self.name);
        batch.receipt = Some(Receipt { judgement: Some(judgement.clone()), ..Receipt::new(None, 1, committed) });
        place.send(batch);
        drop(to);
        match timeout(COMMIT, heard.wait_for(|it| *it == 1)).await {
            Ok(Ok(_)) => {
                let (accepted, rejected) = judgement.read();
                Taken::Committed { accepted, rejected }
            }
            _ => Taken::Unknown,
        }
    }
}

/// False: there is more in it than a body may hold.
fn unpack(body: &[u8], framer: &mut Framer, batch: &mut LineBatch) -> std::io::Result<bool> {
    let mut bytes = MultiGzDecoder::new(body);
    let (mut buffer, mut total) = ([0; 16 << 10], 0);
    loop {
        let len = bytes.read(&mut buffer)?;
        total += len;
        if total > limits::INGEST_BODY_BYTES_MAX {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
        framer.push(&buffer[..len], batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[tokio::test]
    async fn a_body_is_one_batch_and_answered_when_it_is_committed() {
        let (to, mut inbox) = mpsc::channel::<LineBatch>(1);
        let intake = Intake::new(3, None, 100, to.downgrade());
        let service = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(mut batch) = inbox.recv().await {
                let lines: Vec<String> = batch.lines().map(|it| it.text.to_string()).collect();
                seen.push((batch.source, batch.name.to_string(), lines, batch.rejects().len()));
                let receipt = batch.receipt.take().unwrap();
                receipt.judged(batch.lines().len() as u64, batch.rejects().len() as u64);
                receipt.committed();
            }
            seen
        });
        let committed = |accepted, rejected| Taken::Committed { accepted, rejected };
        assert_eq!(intake.take(b"a\nb", false).await, committed(2, 0));
        assert_eq!(intake.take(b"\n\n", false).await, committed(0, 0));
        let long = [b"x".repeat(200).as_slice(), b"\nc\n"].concat();
        assert_eq!(intake.take(&packed(&long), true).await, committed(1, 1));
        assert_eq!(intake.take(b"no gzip", true).await, Taken::Broken);
        assert_eq!(intake.take(&packed(&long)[..20], true).await, Taken::Broken);
        let bomb = packed(&vec![b'\n'; limits::INGEST_BODY_BYTES_MAX + 1]);
        assert!(bomb.len() < 100_000);
        assert_eq!(intake.take(&bomb, true).await, Taken::TooLarge);
        drop(to);
        assert_eq!(intake.take(b"late\n", false).await, Taken::Busy);
        let lines = |it: &[&str]| it.iter().map(|it| it.to_string()).collect::<Vec<_>>();
        let expected = [(3, "http".to_string(), lines(&["a", "b"]), 0), (3, "http".to_string(), lines(&["c"]), 1)];
        assert_eq!(service.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn what_is_dropped_is_not_called_committed() {
        let (to, mut inbox) = mpsc::channel::<LineBatch>(1);
        let intake = Intake::new(0, Some("edge"), 100, to.downgrade());
        let service = tokio::spawn(async move { drop(inbox.recv().await) });
        assert_eq!(intake.take(b"a\n", false).await, Taken::Unknown);
        service.await.unwrap();
    }
}
