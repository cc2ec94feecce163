//! `tripline import`: rules that others wrote, as rules of ours.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Common, Exit};
use crate::config;
use crate::limits;
use crate::rule::sigma::{self, Import, MARK, SigmaFile};
use crate::runtime::setup::read_lists;

#[derive(Args, Debug)]
pub struct ImportArgs {
    #[command(subcommand)]
    pub from: From,
}

#[derive(Subcommand, Debug)]
pub enum From {
    /// Sigma rules and correlations (specification 2), one file a rule
    Sigma(SigmaArgs),
}

#[derive(Args, Debug)]
pub struct SigmaArgs {
    /// Files, and folders with every .yml and .yaml below them
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// The folder to write to; made if need be
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Whom rules of single events are about (repeatable); by default the whole log together, so that no match is lost
    #[arg(long, value_name = "FIELD")]
    pub by: Vec<String>,
    /// Exit 0 even if some rules could not be turned
    #[arg(long)]
    pub lenient: bool,
}

pub fn run(common: &Common, args: ImportArgs) -> Exit {
    let From::Sigma(args) = args.from;
    let mut files = Vec::new();
    for path in &args.paths {
        if let Err(error) = collect(path, 0, &mut files) {
            eprintln!("tripline: {}: {error}", path.display());
            return Exit::InputOutput;
        }
    }
    let lists = match config::read(common.config.as_deref()).and_then(|it| read_lists(&it)) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let import = sigma::import(&files, &args.by, &lists);
    if let Err(error) = write(&import, &args.out) {
        eprintln!("tripline: {error}");
        return Exit::InputOutput;
    }
    report(common, &import, &args.out);
    if import.refused.is_empty() || args.lenient { Exit::Done } else { Exit::Problems }
}

/// The Sigma files at a path, in order of name. Links inside folders are not followed.
fn collect(path: &Path, depth: usize, files: &mut Vec<SigmaFile>) -> io::Result<()> {
    const DEPTH_MAX: usize = 32;
    if !fs::metadata(path)?.is_dir() {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(limits::FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limits::FILE_BYTES_MAX {
            return Err(io::Error::other(format!("larger than {} MiB", limits::FILE_BYTES_MAX >> 20)));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let text = text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text);
        files.push(SigmaFile { name: path.display().to_string(), text });
        return Ok(());
    }
    let mut inside = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    inside.sort_by_key(|it| it.file_name());
    for entry in inside {
        let path = entry.path();
        let kind = entry.file_type()?;
        let is_yaml = path.extension().is_some_and(|it| it == "yml" || it == "yaml");
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < DEPTH_MAX || kind.is_file() && is_yaml {
            collect(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

/// Writes the rules. A file that an import did not write is never replaced.
fn write(import: &Import, folder: &Path) -> io::Result<()> {
    let named = |path: &Path, error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    fs::create_dir_all(folder).map_err(|it| named(folder, it))?;
    for rule in &import.turned {
        let path = folder.join(&rule.file);
        if let Ok(old) = fs::read(&path)
            && !old.starts_with(MARK.as_bytes())
        {
            return Err(io::Error::other(format!("{} is there already, and no import wrote it", path.display())));
        }
        fs::write(&path, &rule.text).map_err(|it| named(&path, it))?;
    }
    Ok(())
}

fn report(common: &Common, import: &Import, folder: &Path) {
    let turned = import.turned.len();
    if !common.quiet {
        let all = turned + import.refused.len();
        let share = if all == 0 { 100.0 } else { 100.0 * turned as f64 / all as f64 };
        println!("{turned} of {all} rules turned ({share:.1} %), written to {}", folder.display());
        if import.parts > 0 {
            println!("{} more serve correlations only", import.parts);
        }
        if import.repeated > 0 {
            println!("{} more say what a rule of the same id says", import.repeated);
        }
        if !import.others.is_empty() {
            println!("{} documents are no Sigma rules: {}", import.others.len(), import.others.join(", "));
        }
        for rule in import.turned.iter().filter(|it| !it.notes.is_empty()) {
            println!("  {}: {}", rule.file, rule.notes.join("; "));
        }
    }
    if import.refused.is_empty() {
        return;
    }
    println!("\nnot turned:");
    let width = import.refused.iter().map(|it| it.origin.chars().count()).max().unwrap_or(0).min(80);
    for it in &import.refused {
        let title = if it.title.is_empty() { String::new() } else { format!("{}: ", it.title) };
        println!("  {:width$}  {title}{}", it.origin, it.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, run as run_cli};
    use super::*;
    use clap::Parser;

    #[test]
    fn files_come_out_and_nothing_of_others_is_replaced() {
        let folder = std::env::temp_dir().join(format!("tripline-import-{}", std::process::id()));
        let (from, out) = (folder.join("from/deep"), folder.join("out"));
        fs::create_dir_all(&from).unwrap();
        let rule = "title: One\nid: one\nlogsource: {product: okta}\ndetection: {s: {a: 1}, condition: s}\n";
        fs::write(from.join("one.yml"), rule).unwrap();
        fs::write(from.join("two.yaml"), rule.replace("id: one", "id: two").replace("a: 1", "'a|expand': '%x%'"))
            .unwrap();
        fs::write(from.join("readme.md"), "no rule").unwrap();
        let import = |more: &[&str]| {
            let (from, out) = (folder.join("from").display().to_string(), out.display().to_string());
            let args = ["tripline", "-q", "import", "sigma", &from, "--out", &out];
            run_cli(Cli::parse_from(args.into_iter().chain(more.iter().copied())))
        };
        assert_eq!(import(&[]), Exit::Problems);
        assert_eq!(import(&["--lenient"]), Exit::Done);
        let written: Vec<_> = fs::read_dir(&out).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(written, ["one.ron"]);
        fs::write(out.join("one.ron"), "// mine").unwrap();
        assert_eq!(import(&["--lenient"]), Exit::InputOutput);
        assert_eq!(fs::read_to_string(out.join("one.ron")).unwrap(), "// mine");
        fs::remove_dir_all(&folder).unwrap();
    }
}
