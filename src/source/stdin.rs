//! Standard input.
//!
//! A blocking read on a thread of its own: asynchronous stdin is such a thread inside the library, with a smaller buffer.
//! What has arrived is handed over at once, so that one line typed or piped is judged now and not when a buffer is full.
//! Such a read cannot be interrupted; at shutdown the thread is left behind and ends with the process.

use crate::source::archive;
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;
use crate::source::reader::{Counted, HandOver, Progress, Reader};
use crate::source::table::Table;
use crate::source::{SourceError, SourceSpec};
use std::io;
use tokio::sync::mpsc;

pub const SPEC: SourceSpec = SourceSpec {
    name: "Stdin",
    about: "Lines from standard input; gzip and zstd are unpacked. When it is the only source, its end is the end of the run.",
    example: "Stdin()",
};

/// A reader for standard input. Waits for its first byte.
pub fn reader(framer: Framer) -> Result<Reader, SourceError> {
    let error = |problem: String| SourceError {
        place: "stdin".into(),
        problem,
        advice: "pipe a log into it, or name a file".into(),
    };
    let progress = Progress::default();
    let bytes = Counted { bytes: io::stdin(), progress: progress.clone() };
    let bytes = archive::unpacked(bytes).map_err(|it| error(format!("cannot be read: {it}")))?;
    let bytes = bytes.map_err(|what| error(format!("is {what}")))?;
    Ok(Reader::new("stdin", framer, Box::new(Table::new(bytes)), HandOver::AtOnce, progress))
}

/// Sends everything a reader has. Blocks: for a thread of its own. When the channel is full it waits, and so does whoever
/// writes to us; when it is closed it ends.
pub fn forward(mut reader: Reader, to: &mpsc::Sender<LineBatch>) -> Result<(), SourceError> {
    loop {
        let mut batch = LineBatch::default();
        if !reader.next(&mut batch)? || to.blocking_send(batch).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::thread;

    #[test]
    fn a_line_arrives_while_the_pipe_stays_open() {
        let (read, mut write) = io::pipe().expect("a pipe");
        let (to, mut batches) = mpsc::channel(1);
        let forwarding = thread::spawn(move || {
            let bytes = archive::unpacked(read).expect("can be read").expect("plain text");
            forward(Reader::new("stdin", Framer::new(0, 100), bytes, HandOver::AtOnce, Progress::default()), &to)
        });
        for (written, expected) in [("a\n", vec!["a"]), ("b\nc\nhalf", vec!["b", "c"]), (" line\n", vec!["half line"])]
        {
            write.write_all(written.as_bytes()).expect("the pipe is open");
            let batch = batches.blocking_recv().expect("a batch");
            assert_eq!(batch.lines().map(|it| it.text).collect::<Vec<_>>(), expected);
        }
        drop(write);
        assert!(batches.blocking_recv().is_none());
        assert!(matches!(forwarding.join(), Ok(Ok(()))));
    }

    #[test]
    fn a_closed_channel_ends_the_reading() {
        let (to, batches) = mpsc::channel(1);
        drop(batches);
        let endless = Box::new(io::repeat(0));
        let reader = Reader::new("stdin", Framer::new(0, 100), endless, HandOver::AtOnce, Progress::default());
        assert!(forward(reader, &to).is_ok());
    }
}
