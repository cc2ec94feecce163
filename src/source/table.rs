//! Tables: exports whose first line names the columns.
//!
//! Consoles hand out as CSV what their API gives as JSON. What a cell means stands in the first line only, and a decoder sees
//! one line and remembers nothing. So rows become objects here, before there are lines: `{"Date":"…","User":"…"}`, and schemas
//! name columns like any other key. A row keeps the number of its first line.
//!
//! Only what is read from its beginning is known to start with such a line: files that are read once, and stdin. The first line
//! must look like nothing but names, one of them that of a time; otherwise every byte passes as it is.

use crate::limits;
use crate::model::text::cells;
use std::io::{self, Read};

/// Turns the rows of a table into lines of JSON, and leaves everything else alone.
pub(super) struct Table<R> {
    bytes: R,
    state: State,
    /// What is ready to be read, and how much of it has been.
    ready: Vec<u8>,
    taken: usize,
}

enum State {
    /// The first line is not complete.
    Head(Vec<u8>),
    Plain,
    Rows(Rows),
    Ended,
}

struct Rows {
    separator: u8,
    /// As JSON writes them.
    columns: Vec<String>,
    /// The row that has no end yet.
    open: Vec<u8>,
    /// So much of it was searched for its end, and there it was inside quotes.
    searched: usize,
    is_quoted: bool,
}

impl<R: Read> Table<R> {
    pub fn new(bytes: R) -> Table<R> {
        Table { bytes, state: State::Head(Vec::new()), ready: Vec::new(), taken: 0 }
    }

    /// Reads once and decides what that was.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let len = self.bytes.read(buffer)?;
        let chunk = &buffer[..len];
        self.taken = 0;
        self.ready.clear();
        match &mut self.state {
            State::Head(head) => {
                head.extend_from_slice(chunk);
                let end = memchr::memchr(b'\n', head);
                if end.is_none() && len > 0 && head.len() < limits::TABLE_HEAD_BYTES_MAX {
                    return Ok(());
                }
                match end.and_then(|it| Rows::headed(&head[..it]).zip(Some(it))) {
                    Some((mut rows, end)) => {
                        // An empty line in its place: the rows keep their numbers.
                        self.ready.push(b'\n');
                        rows.read(&head[end + 1..], &mut self.ready);
                        self.state = State::Rows(rows);
                    }
                    None => {
                        self.ready.append(head);
                        self.state = State::Plain;
                    }
                }
            }
            State::Rows(rows) if len == 0 => {
                rows.finish(&mut self.ready);
                self.state = State::Ended;
            }
            State::Rows(rows) => rows.read(chunk, &mut self.ready),
            State::Plain | State::Ended => (),
        }
        Ok(())
    }
}

impl<R: Read> Read for Table<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let ready = &self.ready[self.taken..];
            if !ready.is_empty() {
                let len = ready.len().min(buffer.len());
                buffer[..len].copy_from_slice(&ready[..len]);
                self.taken += len;
                return Ok(len);
            }
            match self.state {
                State::Plain => return self.bytes.read(buffer),
                State::Ended => return Ok(0),
                State::Head(_) | State::Rows(_) => self.advance(buffer)?,
            }
        }
    }
}

impl Rows {
    /// The table that begins with this line, if one does.
    fn headed(line: &[u8]) -> Option<Rows> {
        let line = std::str::from_utf8(line).ok()?.trim_start_matches('\u{feff}').trim_end_matches('\r');
        let separator = *b",;\t".iter().max_by_key(|it| memchr::memchr_iter(**it, line.as_bytes()).count())?;
        let names: Vec<String> = cells(line, char::from(separator)).map(|it| it.0).collect();
        let is_table = names.len() >= limits::TABLE_COLUMNS_MIN
            && names.iter().all(|it| is_name(it))
            && names.iter().any(|it| is_time(it))
            && !names.iter().enumerate().any(|(at, it)| names[..at].contains(it));
        let columns = names.iter().map(|it| serde_json::Value::from(it.as_str()).to_string()).collect();
        is_table.then_some(Rows { separator, columns, open: Vec::new(), searched: 0, is_quoted: false })
    }

    fn read(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.open.extend_from_slice(chunk);
        let mut start = 0;
        while let Some(at) = memchr::memchr2(b'\n', b'"', &self.open[self.searched..]) {
            let at = self.searched + at;
            self.searched = at + 1;
            match self.open[at] {
                b'"' => self.is_quoted = !self.is_quoted,
                _ if self.is_quoted => (),
                _ => {
                    self.row(start, at, out);
                    start = at + 1;
                }
            }
        }
        self.searched = self.open.len() - start;
        self.open.drain(..start);
        if self.open.len() > limits::LINE_BYTES_MAX {
            self.give_up(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self.is_quoted {
            true => self.give_up(out),
            false if !self.open.is_empty() => self.row(0, self.open.len(), out),
            false => (),
        }
    }

    /// A quote that nobody closes must not swallow what comes after it: its lines are lines.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.open);
        (self.searched, self.is_quoted) = (0, false);
    }

    /// A row as an object. What is none (too many cells, or one where there are several columns) stays what it is.
    fn row(&self, start: usize, end: usize, out: &mut Vec<u8>) {
        let bytes = &self.open[start..end];
        let text = String::from_utf8_lossy(bytes);
        let values: Vec<String> =
            cells(text.trim_end_matches('\r'), char::from(self.separator)).map(|it| it.0).collect();
        if values.len() == 1 || values.len() > self.columns.len() {
            out.extend_from_slice(bytes);
            return out.push(b'\n');
        }
        let mut lead = '{';
        for (column, value) in self.columns.iter().zip(&values).filter(|it| !it.1.is_empty()) {
            out.extend_from_slice(format!("{lead}{column}:{}", serde_json::Value::from(value.as_str())).as_bytes());
            lead = ',';
        }
        if lead == ',' {
            out.push(b'}');
        }
        out.extend(bytes.iter().filter(|it| **it == b'\n'));
        out.push(b'\n');
    }
}

/// Whether a cell may be the name of a column: no number, no sentence, no blank at its ends.
fn is_name(cell: &str) -> bool {
    let first = cell.chars().next();
    first.is_some_and(|it| it.is_alphabetic() || matches!(it, '_' | '@' | '#'))
        && cell.len() <= 64
        && cell.trim() == cell
        && cell.chars().all(|it| it.is_alphanumeric() || " _-.:/()@#[]&'".contains(it))
}

fn is_time(name: &str) -> bool {
    let name = name.to_lowercase();
    ["time", "date", "created", "when", "published", "_at"].iter().any(|it| name.contains(it)) || name == "ts"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn check(text: &str, expected: &str) {
        for step in [1, 3, 7, text.len().max(1)] {
            let mut seen = String::new();
            Table::new(Drops(text.as_bytes(), step)).read_to_string(&mut seen).unwrap();
            assert_eq!(seen, expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn rows_become_objects() {
        check(
            "Date,User,Action\n2025-04-12,ann,login\n",
            "\n{\"Date\":\"2025-04-12\",\"User\":\"ann\",\"Action\":\"login\"}\n",
        );
        check(
            "\u{feff}\"created_at\";\"user.name\";b\r\n1;\"x;\"\"y\"\"\";\r\n",
            "\n{\"created_at\":\"1\",\"user.name\":\"x;\\\"y\\\"\"}\n",
        );
        check("Time\tA\tB\n1\t\t2", "\n{\"Time\":\"1\",\"B\":\"2\"}\n");
    }

    #[test]
    fn rows_keep_their_numbers() {
        check(
            "Time,A,B\n1,\"x\ny\",2\n3,4,5\n",
            "\n{\"Time\":\"1\",\"A\":\"x\\ny\",\"B\":\"2\"}\n\n{\"Time\":\"3\",\"A\":\"4\",\"B\":\"5\"}\n",
        );
        check("Time,A,B\n\n,,\n1,2,3\n", "\n\n\n{\"Time\":\"1\",\"A\":\"2\",\"B\":\"3\"}\n");
    }

    #[test]
    fn what_is_no_row_stays_what_it_is() {
        check("Time,A,B\n1,2,3,4\nend of export\n{\"a\":1}\n", "\n1,2,3,4\nend of export\n{\"a\":1}\n");
        check("Time,A,B\n1,\"open\n2,3,4\n", "\n1,\"open\n2,3,4\n");
        let long = format!("Time,A,B\n1,\"{}\n2,3,4\n", "x".repeat(limits::LINE_BYTES_MAX + 9000));
        let mut seen = String::new();
        Table::new(Drops(long.as_bytes(), 4096)).read_to_string(&mut seen).unwrap();
        assert!(seen.ends_with("x\n{\"Time\":\"2\",\"A\":\"3\",\"B\":\"4\"}\n"), "{}", &seen[seen.len() - 99..]);
    }

    #[test]
    fn what_begins_without_names_passes() {
        for text in [
            "",
            "x",
            "{\"time\":1,\"a\":2,\"b\":3}\n",
            "2025-04-12 08:02:55 | 203.0.113.9 | ann | USA | Login success\n",
            "Date,User\n2025,ann\n",
            "Date,User,User\n",
            "Date,User,7\n",
            "Name,User,Action\n",
            "Started at this time, loading, ready\n",
            "Date | IP | User | Geo | Action\n",
        ] {
            check(text, text);
        }
        check(&"Time,A,".repeat(limits::TABLE_HEAD_BYTES_MAX), &"Time,A,".repeat(limits::TABLE_HEAD_BYTES_MAX));
    }
}
