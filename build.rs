//! Writes the list of files below `rules/`, so that adding a rule or a schema needs no Rust.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=rules");
    println!("cargo:rerun-if-changed=build.rs");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    let folder = root.join("rules");
    if folder.is_dir() {
        collect(&folder, &mut files)?;
    }
    let mut names: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(&root).expect("found below the root");
            let parts: Vec<_> = below.iter().map(|it| it.to_string_lossy().into_owned()).collect();
            (parts.join("/"), path)
        })
        .collect();
    names.sort();
    let mut out = String::from("&[\n");
    for (name, path) in names {
        writeln!(out, "    ({name:?}, include_str!({:?})),", path.display().to_string()).expect("a String takes all");
    }
    out.push_str("]\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("builtin.rs");
    fs::write(target, out)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "ron") {
            files.push(path);
        }
    }
    Ok(())
}
