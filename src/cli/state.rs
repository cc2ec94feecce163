//! `tripline state`: what is remembered, and whether it is sound.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Common, Exit};
use crate::config::{self, State};
use crate::engine::Wanted;
use crate::engine::save::Lessons;
use crate::model::HashKeys;
use crate::rule::problem::Refusal;
use crate::runtime::books::{Status, date};
use crate::runtime::keeper::STATUS_FILE;
use crate::runtime::setup::Setup;
use crate::runtime::{clock, journal, learn, live};
use crate::store::{Store, StoreError, verify};

#[derive(Args, Debug)]
pub struct StateArgs {
    #[command(subcommand)]
    pub command: StateCommand,
}

#[derive(Subcommand, Debug)]
pub enum StateCommand {
    /// Positions, counts and whether they add up; works while the service runs
    Status {
        /// The state directory (default: the configuration's)
        folder: Option<PathBuf>,
    },
    /// Write what the rules have learned to a file that `--learn-from` takes, on another machine or after a state was lost
    ExportLearned {
        /// The state directory (default: the configuration's); no service may have it open
        folder: Option<PathBuf>,
        /// The file to write; as secret as the state
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Read and check everything: exit code 0 sound, 4 damaged
    Verify {
        /// The state directory (default: the configuration's)
        folder: Option<PathBuf>,
    },
}

pub fn run(common: &Common, args: StateArgs) -> Exit {
    let named = match &args.command {
        StateCommand::Status { folder }
        | StateCommand::Verify { folder }
        | StateCommand::ExportLearned { folder, .. } => folder.clone(),
    };
    let folder = match named.map_or_else(|| configured(common), Ok) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    match args.command {
        StateCommand::Status { .. } => status(&folder),
        StateCommand::Verify { .. } => check(&folder),
        StateCommand::ExportLearned { to, .. } => export(common, &folder, &to),
    }
}

fn configured(common: &Common) -> Result<PathBuf, Refusal> {
    match config::read(common.config.as_deref())?.state {
        Some(State::Dir(folder)) => Ok(folder),
        None => Err(Refusal::of("the configuration has no state; name the directory")),
    }
}

fn status(folder: &Path) -> Exit {
    if !folder.join("state.redb").is_file() {
        eprintln!("tripline: there is no state in {}", folder.display());
        return Exit::StateDamaged;
    }
    let known = match Store::open(folder, &date(clock::now())) {
        Ok(opened) => {
            opened.set_aside.iter().for_each(|it| eprintln!("tripline: {it}"));
            Status::of(&opened.store).map_err(String::from)
        }
        // A service has it open: it writes what it knows a few times a second.
        Err(StoreError::InUse(_)) => std::fs::read_to_string(folder.join(STATUS_FILE))
            .map_err(|it| it.to_string())
            .and_then(|it| serde_json::from_str(&it).map_err(|it| it.to_string())),
        Err(error) => Err(error.to_string()),
    };
    match known {
        Ok(it) => {
            let sum = it.delivered + it.pending + it.suppressed + it.expired;
            println!("journal     next entry {}", it.journal_next);
            for (client, line) in &it.clients {
                println!("client      {} committed up to line {line}", crate::model::text::visible(client));
            }
            for file in &it.files {
                let moved = if file.path == file.name { String::new() } else { format!(" (in {})", file.path) };
                let name = crate::model::text::visible(&file.name);
                let moved = crate::model::text::visible(&moved);
                println!("file        {name} read up to line {}, byte {}{moved}", file.line, file.byte);
            }
            if it.files_total > it.files.len() as u64 {
                println!("file        and {} more", it.files_total - it.files.len() as u64);
            }
            println!(
                "identity    fired {} = delivered {} + pending {} + suppressed {} + expired {}{}",
                it.fired,
                it.delivered,
                it.pending,
                it.suppressed,
                it.expired,
                if it.fired == sum { "" } else { "  (does not add up)" }
            );
            if let Some(trouble) = &it.trouble {
                println!("trouble     {trouble}");
            }
            if it.fired == sum { Exit::Done } else { Exit::StateDamaged }
        }
        Err(problem) => {
            eprintln!("tripline: {problem}");
            Exit::StateDamaged
        }
    }
}

fn check(folder: &Path) -> Exit {
    match verify(folder) {
        Ok(verdict) if verdict.problems.is_empty() => {
            println!("sound: {} records, {} snapshots", verdict.records, verdict.snapshots);
            Exit::Done
        }
        Ok(verdict) => {
            verdict.problems.iter().for_each(|it| println!("damaged: {it}"));
            Exit::StateDamaged
        }
        Err(error) => {
            eprintln!("tripline: {error}");
            Exit::StateDamaged
        }
    }
}

fn export(common: &Common, folder: &Path, to: &Path) -> Exit {
    let setup = match Setup::prepare(&common.choice(), Wanted::ByRules) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let (keys, lessons) = match learned(setup, folder) {
        Ok(it) => it,
        Err(problem) => {
            eprintln!("tripline: {problem}");
            return Exit::StateDamaged;
        }
    };
    match learn::export(to, keys, &lessons) {
        Ok(()) => {
            println!("what {} rules learned is in {}; `--learn-from` takes it", lessons.len(), to.display());
            Exit::Done
        }
        Err(error) => {
            eprintln!("tripline: {} cannot be written: {error}", to.display());
            Exit::InputOutput
        }
    }
}

/// What the rules of the configuration remember there, and the keys under which they do.
fn learned(mut setup: Setup, folder: &Path) -> Result<(HashKeys, Lessons), String> {
    if !folder.join("state.redb").is_file() {
        return Err(format!("there is no state in {}", folder.display()));
    }
    let date = date(clock::now());
    let opened = Store::open(folder, &date).map_err(|it| it.to_string())?;
    opened.set_aside.iter().for_each(|it| eprintln!("tripline: {it}"));
    let mut store = opened.store;
    let keys = store.hash_keys((setup.keys.0, setup.keys.1))?;
    // What the journal holds is told again, and hashed as the service hashed it.
    setup.keys = HashKeys(keys.0, keys.1);
    let (engine, recovered) = journal::recover(&store, &date, &|| live::empty(&setup), &mut Vec::new())?;
    recovered.complaints.iter().for_each(|it| eprintln!("tripline: {it}"));
    Ok((setup.keys, engine.lessons()))
}
