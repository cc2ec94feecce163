//! Lines appended to a file that only its owner can read.
//!
//! The file is opened for each line: alerts are rare, and whoever rotates the file need not tell us. A line that a crash
//! cut in half is closed before the next, so that one torn line never spoils two. The line has left us when the kernel
//! has it: kill -9 loses nothing, a power cut may lose the last seconds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::escape;
use crate::model::Alert;

/// The alert as it is appended, with its line end.
pub fn compose(alert: &Alert) -> String {
    escape::json(alert) + "\n"
}

/// Appends whole lines. Anything but an ordinary file is refused: a FIFO would wait for ever.
pub fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
        return Err(io::Error::other("is no ordinary file"));
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let torn = ends_torn(&mut file)?;
    let mut all = Vec::with_capacity(lines.len() + 1);
    if torn {
        all.push(b'\n');
    }
    all.extend_from_slice(lines);
    file.write_all(&all)
}

/// Appends, and starts the file anew when it has grown beyond the limit; one older file is kept beside it as `NAME.1`.
pub fn append_rotated(path: &Path, lines: &[u8], bytes_max: u64) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() > 0 && it.len() + lines.len() as u64 > bytes_max) {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        fs::rename(path, older)?;
    }
    append(path, lines)
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;
    use crate::deliver::test_server::TempDir;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_are_whole_and_private() {
        let dir = TempDir::new();
        let path = dir.path("alerts.ndjson");
        append(&path, compose(&sample::alert()).as_bytes()).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"torn\":").unwrap();
        append(&path, compose(&sample::hostile()).as_bytes()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(serde_json::from_str::<Alert>(lines[0]).unwrap(), sample::alert());
        assert_eq!(serde_json::from_str::<Alert>(lines[2]).unwrap(), sample::hostile());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(append(&dir.path("."), b"x\n").is_err());
    }

    #[test]
    fn dead_letters_never_fill_the_disk() {
        let dir = TempDir::new();
        let path = dir.path("dead.ndjson");
        for _ in 0..10 {
            append_rotated(&path, b"123456789\n", 30).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 10);
        assert_eq!(fs::metadata(dir.path("dead.ndjson.1")).unwrap().len(), 30);
    }
}
