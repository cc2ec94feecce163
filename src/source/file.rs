//! Files named by a person, and `-` for stdin.

use crate::source::SourceError;
use crate::source::archive;
use crate::source::frame::Framer;
use crate::source::reader::{Counted, HandOver, Progress, Reader};
use crate::source::table::Table;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// A reader for a file that is read once, from beginning to end: plain, gzip or zstd. `-` is stdin.
pub fn reader(source: u16, path: &str, line_bytes_max: usize) -> Result<Reader, SourceError> {
    let framer = Framer::new(source, line_bytes_max);
    if path == "-" {
        return super::stdin::reader(framer);
    }
    let path_shown = path;
    let path = Path::new(path);
    let error = |problem: &str, advice: &str| SourceError {
        place: path_shown.to_owned(),
        problem: problem.to_owned(),
        advice: advice.to_owned(),
    };
    let about_io = |it: io::Error| match it.kind() {
        io::ErrorKind::NotFound => error("there is no such file", "check the path; `-` reads stdin"),
        io::ErrorKind::PermissionDenied => error("may not be read by this user", "check its owner and mode"),
        _ => error(&format!("cannot be read: {it}"), "check the disk and the path"),
    };
    // Asked before opening: opening some devices does something, and opening a socket fails with a riddle.
    let metadata = fs::metadata(path).map_err(about_io)?;
    let bytes_total = match unreadable(&metadata) {
        Some("folder") => {
            return Err(error("is a folder", &format!("name files: {}/*", path_shown.trim_end_matches('/'))));
        }
        Some(what) => return Err(error(&format!("is a {what}"), "name a file or a pipe")),
        None => metadata.is_file().then_some(metadata.len()),
    };
    let progress = Progress::new(bytes_total);
    let file = Counted { bytes: File::open(path).map_err(about_io)?, progress: progress.clone() };
    let hand_over = if metadata.is_file() { HandOver::Full } else { HandOver::AtOnce };
    let bytes = archive::unpacked(file)
        .map_err(about_io)?
        .map_err(|what| error(&format!("is {}", what.replace("FILE", path_shown)), ""))?;
    Ok(Reader::new(path_shown, framer, Box::new(Table::new(bytes)), hand_over, progress))
}

/// The bytes of a file, unpacked: for callers that do not want lines.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    let error = |problem: String| SourceError {
        place: path.display().to_string(),
        problem,
        advice: "name a file that can be read".into(),
    };
    let file = File::open(path).map_err(|it| error(format!("cannot be opened: {it}")))?;
    let bytes = archive::unpacked(file).map_err(|it| error(format!("cannot be read: {it}")))?;
    bytes.map_err(|what| error(format!("is {what}")))
}

/// What a thing is that cannot be read as a log. Pipes and character devices can: `/dev/stdin`, `<(process substitution)`.
#[cfg(unix)]
fn unreadable(metadata: &fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => Some("folder"),
        () if kind.is_socket() => Some("socket"),
        () if kind.is_block_device() => Some("disk"),
        () => None,
    }
}

#[cfg(not(unix))]
fn unreadable(metadata: &fs::Metadata) -> Option<&'static str> {
    metadata.is_dir().then_some("folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::source::archive::tests::{gz, zst};
    use crate::source::batch::LineBatch;
    use crate::source::tests::Folder;

    fn check(name: &str, content: &[u8], expected: &str) {
        let folder = Folder::new();
        let path = folder.write(name, content);
        let mut reader = match reader(7, &path, limits::LINE_BYTES_MAX) {
            Ok(it) => it,
            Err(error) => return assert_eq!(error.to_string().replace(&path, "FILE"), expected),
        };
        let mut batch = LineBatch::default();
        let mut seen = Vec::new();
        loop {
            match reader.next(&mut batch) {
                Ok(false) => break,
                Ok(true) => {
                    assert_eq!((batch.source, &*batch.name), (7, &*path));
                    seen.extend(batch.lines().map(|it| it.text.to_owned()));
                    seen.extend(batch.rejects().map(|it| it.reason.to_owned()));
                }
                Err(error) => seen.push(error.to_string().replace(&path, "FILE")),
            }
        }
        assert_eq!(seen.join(" + "), expected, "{name}");
        assert_eq!(reader.progress().bytes_read(), content.len() as u64);
        assert_eq!(reader.progress().bytes_total(), Some(content.len() as u64));
    }

    #[test]
    fn files_are_read_whatever_they_are_called() {
        check("a.log", b"one\ntwo", "one + two");
        check("a.gz", b"one\ntwo\n", "one + two");
        check("a.log", &gz(b"one\ntwo"), "one + two");
        check("a.log.gz", &[gz(b"one\nt"), gz(b"wo")].concat(), "one + two");
        check("a.log.zst", &[zst(b"one\nt"), zst(b"wo")].concat(), "one + two");
        check("empty", b"", "");
        check("a.xz", b"\xfd7zXZ\0", "FILE: is an xz archive; unpack it first: xzcat FILE | tripline …");
        let cut = gz(b"one\ntwo\n");
        check(
            "cut.gz",
            &cut[..cut.len() - 6],
            "one + two + broken-archive + FILE: could not be read to its end: unexpected end of file; what came before was read; fetch the file again, or repair it",
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = Folder::new();
        let missing = folder.path("missing.log");
        let of = |path: &str| reader(0, path, 100).err().map(|it| it.to_string()).unwrap_or_default();
        assert_eq!(of(&missing), format!("{missing}: there is no such file; check the path; `-` reads stdin"));
        let here = folder.path("");
        assert_eq!(of(&here), format!("{here}: is a folder; name files: {}/*", here.trim_end_matches('/')));
    }

    #[test]
    fn many_batches_make_the_whole_file() {
        let text: String = (0..60_000).map(|it| format!("line {it} of a file that needs several batches\n")).collect();
        let folder = Folder::new();
        let path = folder.write("long.log.zst", &zst(text.as_bytes()));
        let mut reader = reader(0, &path, limits::LINE_BYTES_MAX).expect("can be read");
        let mut batch = LineBatch::default();
        let (mut number, mut batches) = (0, 0);
        while reader.next(&mut batch).expect("is whole") {
            batches += 1;
            for line in batch.lines() {
                assert_eq!(line.text, format!("line {number} of a file that needs several batches"));
                number += 1;
                assert_eq!(line.number, number);
            }
        }
        assert!(number == 60_000 && batches > 5, "{number} lines, {batches} batches");
    }
}
