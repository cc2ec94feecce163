//! Files that somebody may edit while the service runs.
//!
//! Looked at a few times a second, by size and time first: that costs nothing and works on every file system. A change is
//! believed when it has held still from one look to the next, so a file that is half-written is not read; and what counts is
//! the content, so touching a file, or saving it unchanged, does nothing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Folders inside one another.
const DEPTH_MAX: usize = 32;

/// What the files were at the last look.
#[derive(Default)]
pub struct Watch {
    looks: u64,
    content: u64,
    is_settling: bool,
}

impl Watch {
    /// What there is now counts as known.
    pub fn of(paths: &[PathBuf]) -> Watch {
        let files = files(paths);
        Watch { looks: looks(&files), content: content(&files), is_settling: false }
    }

    /// Whether the files say something else than before, and have held still since the last look.
    pub fn has_changed(&mut self, paths: &[PathBuf]) -> bool {
        let files = files(paths);
        let looks = looks(&files);
        if looks != self.looks {
            self.looks = looks;
            self.is_settling = true;
            return false;
        }
        if !std::mem::take(&mut self.is_settling) {
            return false;
        }
        let content = content(&files);
        std::mem::replace(&mut self.content, content) != content
    }
}

/// The files named, and the `.ron` files below the folders named.
fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    paths.iter().for_each(|it| collect(it, 0, &mut all));
    all.sort();
    all
}

fn collect(path: &Path, depth: usize, all: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(path) else {
        let is_ron = path.extension().is_some_and(|it| it == "ron");
        // Named files whatever they are called; of a folder only rules.
        if depth == 0 || is_ron {
            all.push(path.to_path_buf());
        }
        return;
    };
    if depth < DEPTH_MAX {
        entries.flatten().for_each(|it| collect(&it.path(), depth + 1, all));
    }
}

fn looks(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let known = std::fs::metadata(file).ok().map(|it| (it.len(), it.modified().ok()));
        (file, known).hash(&mut hasher);
    }
    hasher.finish()
}

fn content(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        // A pipe in the place of a file would be waited for.
        let bytes = if file.is_file() { std::fs::read(file).ok() } else { None };
        (file, bytes).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_holds_still_and_says_something_else() {
        let folder = std::env::temp_dir().join(format!("tripline-watch-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("a.ron", "one");
        let paths = [folder.clone(), folder.join("list.txt")];
        let mut watch = Watch::of(&paths);
        let mut check = |expected: [bool; 3]| {
            let found: Vec<bool> = expected.iter().map(|_| watch.has_changed(&paths)).collect();
            assert_eq!(found, expected);
        };
        check([false, false, false]);
        write("a.ron", "three");
        check([false, true, false]);
        write("deep/b.ron", "new");
        check([false, true, false]);
        write("list.txt", "10.0.0.1");
        check([false, true, false]);
        write("notes.txt", "nobody reads this");
        check([false, false, false]);
        std::fs::remove_file(folder.join("a.ron")).unwrap();
        check([false, true, false]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
