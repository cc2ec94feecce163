//! A writer does to its files whatever writers and rotation do, a reader is stopped and started again, and every line comes
//! exactly once, with its right number.

use super::*;
use crate::source::archive::tests::gz;
use crate::source::tests::Folder;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::SystemTime;

/// Files, their writer and their reader.
struct World {
    folder: Folder,
    pattern: &'static str,
    from: From,
    links: Links,
    until: Until,
    follower: Option<Follower>,
    now: Duration,
    committed: BTreeMap<String, Vec<u8>>,
    /// As `line:text`.
    heard: Vec<String>,
    complaints: Vec<String>,
    /// Rises with every change of a file: two changes never have one time.
    ticks: u64,
    generation: u32,
    lines: u32,
    written: Vec<String>,
}

impl World {
    fn new(pattern: &'static str) -> World {
        World {
            folder: Folder::new(),
            pattern,
            from: From::Start,
            links: Links::Refused,
            until: Until::Stopped,
            follower: None,
            now: Duration::ZERO,
            committed: BTreeMap::new(),
            heard: Vec::new(),
            complaints: Vec::new(),
            ticks: 0,
            generation: 1,
            lines: 0,
            written: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    fn touch(&mut self, file: &File) {
        self.ticks += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + self.ticks * 10);
        file.set_modified(time).expect("a file of ours");
    }

    fn append(&mut self, name: &str, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).expect("a file of ours");
        file.write_all(bytes).expect("room");
        self.touch(&file);
        self.touch_folder();
    }

    /// A folder changes with the names in it. The system's clock for that is coarse.
    fn touch_folder(&mut self) {
        let folder = File::open(self.path("")).expect("a folder of ours");
        self.touch(&folder);
    }

    fn remove(&mut self, name: &str) {
        fs::remove_file(self.path(name)).expect(name);
        self.touch_folder();
    }

    fn rename(&mut self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect(from);
        self.touch_folder();
    }

    fn exists(&self, name: &str) -> bool {
        fs::exists(self.path(name)).expect("a folder of ours")
    }

    /// Compresses as gzip does: beside, with the time of the original, and then the original is gone.
    fn compress(&mut self, name: &str) {
        let path = self.path(name);
        let modified = fs::metadata(&path).and_then(|it| it.modified()).expect(name);
        let packed = self.folder.write(&format!("{name}.gz"), &gz(&fs::read(&path).expect(name)));
        let file = OpenOptions::new().append(true).open(packed).expect(name);
        file.set_modified(modified).expect(name);
        self.remove(name);
    }

    fn settings(&self) -> Settings {
        let path = self.path(self.pattern);
        let pattern =
            if self.until == Until::End { Pattern::literal(&path) } else { Pattern::parse(&path).expect("good") };
        let Self { from, links, until, .. } = *self;
        Settings { source: 3, pattern, from, links, until, line_bytes_max: 2_000 }
    }

    /// One poll, of which so many batches are committed before we die, if we do.
    fn poll(&mut self, survives: Option<usize>) -> Polled {
        let known: Vec<(String, Vec<u8>)> = self.committed.clone().into_iter().collect();
        let settings = self.settings();
        let follower = self.follower.get_or_insert_with(|| Follower::new(settings, &known));
        let mut out = Vec::new();
        let polled = follower.poll(self.now, &mut out);
        self.complaints.extend(follower.complaints().iter().map(|it| it.problem.clone()));
        out.truncate(survives.unwrap_or(usize::MAX));
        for batch in out {
            self.heard.extend(batch.lines().map(|it| format!("{}:{}", it.number, it.text)));
            self.heard.extend(batch.rejects().map(|it| format!("{}!{}", it.number, it.reason)));
            for (key, value) in batch.positions {
                match value {
                    Some(it) => drop(self.committed.insert(key.to_string(), it)),
                    None => drop(self.committed.remove(&*key)),
                }
            }
        }
        if survives.is_some() {
            self.follower = None;
        }
        polled
    }

    /// Polls until there is nothing more to read.
    fn catch_up(&mut self) {
        for _ in 0..1_000 {
            if self.poll(None) == Polled::Quiet {
                self.now += POLL_EVERY;
                return;
            }
        }
        panic!("it is never quiet");
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.catch_up();
    }

    fn restart(&mut self) {
        self.follower = None;
        self.now = Duration::ZERO;
    }

    fn check(&mut self, expected: &[&str]) {
        self.catch_up();
        assert_eq!(std::mem::take(&mut self.heard), expected);
    }

    /// Writes whole lines; each says its file and its number.
    fn write_lines(&mut self, name: &str, number: u32, pad: usize) {
        let mut text = String::new();
        for _ in 0..number {
            self.lines += 1;
            let line = format!("file {} line {} of ours {}", self.generation, self.lines, "x".repeat(pad));
            text += &format!("{line}\n");
            self.written.push(line);
        }
        self.append(name, text.as_bytes());
    }

    fn new_file(&mut self) {
        self.generation += 1;
        self.lines = 0;
    }

    /// The first half of `copytruncate`.
    fn copy(&mut self) {
        self.shift();
        let bytes = fs::read(self.path("app.log")).expect("app.log");
        if !bytes.is_empty() {
            self.append("app.log.1", &bytes);
        }
    }

    /// The second.
    fn empty(&mut self) {
        let file = OpenOptions::new().write(true).truncate(true).open(self.path("app.log")).expect("app.log");
        self.touch(&file);
        self.new_file();
    }

    /// Makes room for a new `app.log.1`.
    fn shift(&mut self) {
        for number in (1..40).rev() {
            for end in ["", ".gz"] {
                let name = format!("app.log.{number}{end}");
                if self.exists(&name) {
                    self.rename(&name, &format!("app.log.{}{end}", number + 1));
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Write { lines: u32, pad: usize },
    Rename { late: u32 },
    CopyTruncate { polls_between: bool, reads_between: u32 },
    Compress(u32),
    Delete,
    Poll,
    CatchUp,
    Wait,
    Die { committed: usize },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1u32..6, prop_oneof![4 => 0usize..60, 1 => 300usize..900]).prop_map(|(lines, pad)| Act::Write { lines, pad }),
        3 => (0u32..3).prop_map(|late| Act::Rename { late }),
        3 => (any::<bool>(), 0u32..3).prop_map(|(polls_between, reads_between)| Act::CopyTruncate { polls_between, reads_between }),
        2 => (1u32..4).prop_map(Act::Compress),
        1 => Just(Act::Delete),
        3 => Just(Act::Poll),
        2 => Just(Act::CatchUp),
        1 => Just(Act::Wait),
        3 => (0usize..3).prop_map(|committed| Act::Die { committed }),
    ]
}

impl World {
    fn act(&mut self, act: &Act) {
        let rotates = matches!(act, Act::Rename { .. } | Act::CopyTruncate { .. });
        if rotates && self.follower.is_some() {
            // Nobody rotates four times a second; while we are down, anything may happen.
            self.catch_up();
            self.wait(SCAN_EVERY);
        }
        match *act {
            Act::Write { lines, pad } => self.write_lines("app.log", lines, pad),
            Act::Rename { late } if self.exists("app.log") => {
                self.shift();
                self.rename("app.log", "app.log.1");
                if late > 0 {
                    self.write_lines("app.log.1", late, 5);
                }
                self.new_file();
            }
            Act::CopyTruncate { polls_between, reads_between } if self.exists("app.log") => {
                self.copy();
                if polls_between {
                    self.poll(None);
                }
                if reads_between > 0 {
                    // Written after the copy was made: only whoever reads it before it is emptied has it.
                    self.catch_up();
                    self.write_lines("app.log", reads_between, 7);
                    self.catch_up();
                    self.wait(SCAN_EVERY);
                }
                self.empty();
            }
            Act::Compress(number) => {
                let name = format!("app.log.{number}");
                if self.exists(&name) && !self.exists(&format!("{name}.gz")) {
                    self.compress(&name);
                }
            }
            Act::Delete if self.exists("app.log") => {
                // What nobody has read cannot be found again.
                self.catch_up();
                self.wait(SCAN_EVERY);
                self.remove("app.log");
                self.new_file();
            }
            Act::Rename { .. } | Act::CopyTruncate { .. } | Act::Delete => (),
            Act::Poll => drop(self.poll(None)),
            Act::CatchUp => self.catch_up(),
            Act::Wait => self.wait(Duration::from_secs(7)),
            Act::Die { committed } => drop(self.poll(Some(committed))),
        }
    }

    fn end(&mut self) {
        for _ in 0..4 {
            self.wait(Duration::from_secs(70));
        }
        let mut expected: Vec<String> =
            self.written.iter().map(|it| format!("{}:{it}", it.split(' ').nth(3).expect("a line of ours"))).collect();
        let mut heard = self.heard.clone();
        expected.sort();
        heard.sort();
        let lost: Vec<_> = expected.iter().filter(|it| !heard.contains(it)).collect();
        let extra: Vec<_> = heard.iter().filter(|it| !expected.contains(it)).collect();
        assert!(lost.is_empty() && extra.is_empty(), "lost {lost:?}, invented {extra:?}");
        let twice: Vec<_> = heard.windows(2).filter(|it| it[0] == it[1]).map(|it| &it[0]).collect();
        assert!(twice.is_empty(), "twice {twice:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_line_once_whatever_happens(
        acts in proptest::collection::vec(act(), 1..40),
        pattern in prop_oneof![Just("app.log"), Just("app.log*"), Just("*.log")],
    ) {
        let mut world = World::new(pattern);
        // Otherwise a file that came and went before the first look is nobody's.
        world.append("app.log", b"");
        world.catch_up();
        for it in &acts {
            world.act(it);
        }
        world.end();
    }
}

/// The original is emptied after it was seen and before it was read: what it held is in the copy alone.
#[test]
fn a_copy_of_what_nobody_has_read_is_kept_in_mind() {
    for pattern in ["app.log", "app.log*", "*.log"] {
        let mut world = World::new(pattern);
        world.append("app.log", b"");
        world.catch_up();
        let write = |lines| Act::Write { lines, pad: 0 };
        let copied = Act::CopyTruncate { polls_between: true, reads_between: 0 };
        for act in [Act::Die { committed: 0 }, write(1), Act::Rename { late: 0 }, write(1), copied, write(1), write(1)]
        {
            world.act(&act);
        }
        world.end();
    }
}

/// And we die when a part of what was found is safe: the emptied log must not be known before its copy is.
#[test]
fn a_copy_of_what_nobody_has_read_comes_before_what_came_after_it() {
    for committed in 0..4 {
        for pattern in ["app.log", "app.log*", "*.log"] {
            let mut world = World::new(pattern);
            world.append("app.log", b"");
            world.catch_up();
            let write = || Act::Write { lines: 1, pad: 0 };
            let copied = Act::CopyTruncate { polls_between: true, reads_between: 0 };
            let first = [Act::Die { committed: 0 }, write(), Act::Rename { late: 0 }, write(), copied, write()];
            for act in first.iter().chain([&Act::Die { committed }]) {
                world.act(act);
            }
            world.end();
        }
    }
}

/// A log that waits for an older one, or for the end of its first line, is copied, emptied and filled again.
#[test]
fn what_waits_to_be_read_is_not_taken_for_what_came_after_it() {
    for committed in [None, Some(0), Some(1), Some(2), Some(3)] {
        for more in ["", "written after it was copied"] {
            let mut world = World::new("app.log");
            world.append("app.log", b"");
            world.catch_up();
            world.restart();
            world.write_lines("app.log", 1, 0);
            world.act(&Act::Rename { late: 0 });
            world.write_lines("app.log", 1, 0);
            if more.is_empty() {
                world.poll(None);
            }
            world.copy();
            world.append("app.log", more.as_bytes());
            if !more.is_empty() {
                world.poll(None);
            }
            world.empty();
            world.write_lines("app.log", 1, 100);
            world.poll(committed);
            world.end();
        }
    }
    for restarts in [false, true] {
        let mut world = World::new("app.log");
        world.append("app.log", b"begun");
        world.wait(SCAN_EVERY);
        if restarts {
            world.restart();
        }
        world.copy();
        world.empty();
        world.append("app.log", b"another\n");
        world.wait(SCAN_EVERY);
        world.wait(SETTLED);
        world.wait(SETTLED);
        world.check(&["1:another", "1:begun"]);
    }
}

/// Renamed again and again before anybody looks: whether the log was read before, was empty, or was not there.
#[test]
fn several_rotations_between_two_looks_lose_nothing() {
    for begins in ["read", "empty", "absent"] {
        let mut world = World::new("app.log");
        world.append("app.log.7", b"of long ago\n");
        match begins {
            "read" => world.append("app.log", b"zero\n"),
            "empty" => world.append("app.log", b""),
            _ => {}
        }
        world.wait(SCAN_EVERY);
        world.heard.clear();
        for text in ["one\n", "two\n", "three\n"] {
            world.append("app.log", text.as_bytes());
            world.shift();
            world.rename("app.log", "app.log.1");
        }
        world.append("app.log", b"four\n");
        world.wait(SCAN_EVERY);
        world.wait(SCAN_EVERY);
        let texts: Vec<&str> = world.heard.iter().filter_map(|it| it.split(':').nth(1)).collect();
        assert_eq!(texts, ["one", "two", "three", "four"], "{begins}");
    }
}

#[test]
fn a_line_is_one_when_it_ends() {
    let mut world = World::new("*.log");
    world.append("a.log", b"one\ntw");
    world.check(&["1:one"]);
    world.append("a.log", b"o\r\n\nfour");
    world.check(&["2:two"]);
    world.wait(KEPT_OPEN);
    world.check(&[]);
    // Rotated away, nothing more can come.
    world.rename("a.log", "a.log.1");
    world.wait(SCAN_EVERY);
    world.append("a.log", b"new\n");
    world.wait(SETTLED);
    world.wait(SETTLED);
    let mut heard = std::mem::take(&mut world.heard);
    heard.sort();
    assert_eq!(heard, ["1:new", "4:four"]);
}

#[test]
fn documents_long_lines_and_wide_characters_go_on_after_a_restart() {
    let mut world = World::new("*.log");
    world.append("a.log", b"first\n[\n{\"a\":1},\n{\"a\":");
    world.check(&["1:first", "3:{\"a\":1}"]);
    world.restart();
    world.append("a.log", b"\n2}\n");
    world.check(&["4:{\"a\": 2}"]);
    world.append("a.log", b"]\nlast\n");
    world.check(&["7:last"]);
    let long = vec![b'x'; SHARE_BYTES * 2 + 7];
    world.append("a.log", &long);
    world.check(&["8!too-long"]);
    world.append("a.log", b"tail\nafter\n");
    world.check(&["9:after"]);
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    world.append("b.log", &[b"\xff\xfe".as_slice(), &wide("eins\nzwei\n\u{10a}")].concat());
    world.check(&["1:eins", "2:zwei"]);
    world.restart();
    world.append("b.log", &wide("drei\n"));
    world.check(&["3:\u{10a}drei"]);
}

#[test]
fn only_regular_files_are_followed_and_each_complaint_comes_once() {
    let mut world = World::new("*.log");
    world.until = Until::Stopped;
    fs::create_dir(world.path("folder.log")).expect("a folder");
    world.append("real", b"secret\n");
    std::os::unix::fs::symlink(world.path("real"), world.path("link.log")).expect("a link");
    std::os::unix::fs::symlink("/dev/zero", world.path("zero.log")).expect("a link");
    world.append("good.log", b"good\n");
    world.check(&["1:good"]);
    for _ in 0..3 {
        world.wait(SCAN_EVERY);
    }
    world.check(&[]);
    world.complaints.sort();
    assert_eq!(world.complaints.len(), 2, "{:?}", world.complaints);
    assert!(world.complaints.iter().all(|it| it.contains("symlinks: true")));
    let mut world = World::new("*.log");
    world.links = Links::Followed;
    world.append("real", b"one\n");
    std::os::unix::fs::symlink(world.path("real"), world.path("link.log")).expect("a link");
    std::os::unix::fs::symlink("/dev/zero", world.path("zero.log")).expect("a link");
    world.check(&["1:one"]);
    assert_eq!(world.complaints, ["is a device; only regular files are followed"]);
    // Whoever turns the link gets the other file read, from its beginning.
    world.append("other", b"two\n");
    world.remove("link.log");
    std::os::unix::fs::symlink(world.path("other"), world.path("link.log")).expect("a link");
    world.wait(SCAN_EVERY);
    world.check(&["1:two"]);
}

#[test]
fn what_was_there_before_us_may_be_left_out() {
    let mut world = World::new("*.log");
    world.from = From::End;
    world.append("a.log", b"old\nolder\nbegun");
    world.check(&[]);
    world.append("a.log", b" before\nnew\n");
    world.append("b.log", b"later\n");
    world.wait(SCAN_EVERY);
    world.check(&["3:begun before", "4:new", "1:later"]);
    world.restart();
    world.append("a.log", b"more\n");
    world.append("c.log", b"while we were down\n");
    world.check(&["5:more", "1:while we were down"]);
}

#[test]
fn a_file_that_is_not_followed_is_read_once() {
    let mut world = World::new("a[1].log");
    world.until = Until::End;
    world.append("a[1].log", b"one\ntwo");
    world.check(&["1:one", "2:two"]);
    assert!(world.follower.as_ref().is_some_and(Follower::is_over));
    world.restart();
    world.check(&[]);
    assert!(world.follower.as_ref().is_some_and(Follower::is_over));
    world.restart();
    world.append("a[1].log", b"\nthree\n");
    world.check(&["4:three"]);
    world.restart();
    fs::write(world.path("a[1].log"), "other\n").expect("a file of ours");
    world.check(&["1:other"]);
}

#[test]
fn holes_are_passed_and_zeros_at_the_end_are_not() {
    let mut world = World::new("*.log");
    world.append("a.log", b"before\n");
    world.check(&["1:before"]);
    let file = OpenOptions::new().write(true).open(world.path("a.log")).expect("a.log");
    file.set_len(ZEROS_BYTES + 5_000_000).expect("a hole");
    world.touch(&file);
    world.check(&[]);
    world.append("a.log", b"after\n");
    for _ in 0..4 {
        world.wait(POLL_EVERY);
    }
    world.check(&["2:after"]);
    let mut world = World::new("*.log");
    world.append("a.log", &[b"one\n".as_slice(), &[0; 9_000]].concat());
    world.check(&["1:one"]);
    fs::write(world.path("a.log"), [b"one\ntwo\n".as_slice(), &[0; 8_996]].concat()).expect("a file of ours");
    world.check(&["2:two"]);
}

#[test]
fn many_files_have_their_share_and_few_are_open() {
    let mut world = World::new("*.log");
    let many = limits::FILES_OPEN_MAX + 50;
    for it in 0..many {
        world.append(&format!("f{it}.log"), b"one\ntwo\n");
    }
    world.append("big.log", &b"a line of the big one\n".repeat(POLL_BYTES / 4));
    world.poll(None);
    world.poll(None);
    assert!(world.heard.iter().filter(|it| *it == "1:one").count() > 10, "the big one is not alone");
    world.catch_up();
    assert_eq!(world.heard.iter().filter(|it| *it == "2:two").count(), many);
    let open = |it: &Follower| it.files.iter().filter(|it| it.bytes.is_some()).count();
    assert!(world.follower.as_ref().map_or(0, open) <= limits::FILES_OPEN_MAX);
}

/// While nobody looked, the known log was rotated away, and another came and was rotated as well.
#[test]
fn a_log_that_came_and_was_rotated_while_we_were_down_is_read() {
    let mut world = World::new("*.log");
    world.append("app.log", b"");
    world.catch_up();
    for act in [
        Act::CopyTruncate { polls_between: false, reads_between: 0 },
        Act::Die { committed: 0 },
        Act::Rename { late: 0 },
        Act::Rename { late: 0 },
        Act::Die { committed: 1 },
        Act::Write { lines: 1, pad: 0 },
        Act::Rename { late: 0 },
    ] {
        world.act(&act);
    }
    world.end();
}
