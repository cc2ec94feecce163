//! The real program, run as a user would, and what it needs around it. Everything waits for a condition, never for time;
//! a condition that does not come fails after [`PATIENCE`] with what was said so far.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The program itself.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tripline");

/// Far more than anything takes on a slow machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A file that ships for tests.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A folder that is gone after the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tripline-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Done {
    pub stdout: String,
    pub stderr: String,
    pub status: ExitStatus,
}

impl Done {
    pub fn succeeds(self) -> Done {
        self.exits(0)
    }

    pub fn exits(self, code: i32) -> Done {
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", cut(&self.stdout), cut(&self.stderr));
        self
    }
}

fn cut(text: &str) -> &str {
    tripline::model::text::cut(text, 4_000)
}

/// A command that reads nothing.
pub fn tripline(args: &[&str]) -> Done {
    tripline_with(args, b"")
}

/// A command that reads these bytes.
pub fn tripline_with(args: &[&str], stdin: &[u8]) -> Done {
    let mut running = Running::start(args);
    running.say(stdin);
    running.end_input();
    running.wait()
}

/// A program that runs. It is killed when the test is over.
pub struct Running {
    args: Vec<String>,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Heard,
    stderr: Heard,
}

impl Running {
    pub fn start(args: &[&str]) -> Running {
        let folder = std::env::temp_dir();
        Running::start_in(&folder.display().to_string(), args)
    }

    /// In a folder of its own, so that no `tripline.ron` lies around.
    pub fn start_in(folder: &str, args: &[&str]) -> Running {
        Running::start_program(PROGRAM, folder, args)
    }

    /// Another program, which becomes ours.
    pub fn start_as(program: &str, args: &[&str]) -> Running {
        Running::start_program(program, &std::env::temp_dir().display().to_string(), args)
    }

    fn start_program(program: &str, folder: &str, args: &[&str]) -> Running {
        let mut child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Heard::of(child.stdout.take().unwrap());
        let stderr = Heard::of(child.stderr.take().unwrap());
        let args = args.iter().map(|it| it.to_string()).collect();
        Running { args, stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Writes to its standard input. A program that does not want to hear it is no mistake of the test.
    pub fn say(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input has not ended");
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until standard output is as wanted; returns it.
    pub fn says(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.stdout.wait(what, wanted, &self.stderr)
    }

    /// The same for standard error.
    pub fn complains(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.stderr.wait(what, wanted, &self.stdout)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        let said = self.complains("an address", |it| it.contains("listening on ") && it.ends_with('\n'));
        said.split("listening on ").nth(1).unwrap().split_whitespace().next().unwrap().to_string()
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "{:?} does not end; it said {}", self.args, cut(&self.stderr.text()));
            // Polling is the only way the standard library has to wait with a deadline.
            thread::park_timeout(Duration::from_millis(5));
        };
        Done { stdout: self.stdout.all(), stderr: self.stderr.all(), status }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text that grows in another thread.
#[derive(Clone)]
pub struct Heard(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Heard {
    fn of(stream: impl Read + Send + 'static) -> Heard {
        let heard = Heard(Arc::default());
        let ours = heard.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            loop {
                line.clear();
                let len = stream.read_until(b'\n', &mut line).unwrap_or(0);
                let mut state = ours.0.0.lock().unwrap();
                state.0.push_str(&String::from_utf8_lossy(&line));
                state.1 = len == 0;
                ours.0.1.notify_all();
                if len == 0 {
                    return;
                }
            }
        });
        heard
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().0.clone()
    }

    /// Everything, once the other end is closed.
    fn all(&self) -> String {
        let state = self.0.0.lock().unwrap();
        let (state, time) = self.0.1.wait_timeout_while(state, PATIENCE, |it| !it.1).unwrap();
        assert!(!time.timed_out(), "its output stays open");
        state.0.clone()
    }

    fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool, other: &Heard) -> String {
        let state = self.0.0.lock().unwrap();
        let (state, _) = self.0.1.wait_timeout_while(state, PATIENCE, |it| !wanted(&it.0) && !it.1).unwrap();
        let other = other.text();
        assert!(wanted(&state.0), "waited for {what}; heard {:?}; and {:?}", cut(&state.0), cut(&other));
        state.0.clone()
    }
}

/// Waits for something that another thread brings about.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(it) = look() {
            return it;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
