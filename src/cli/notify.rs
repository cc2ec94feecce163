//! `tripline notify`: try a receiver before it matters.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{Common, Exit};
use crate::config;
use crate::deliver::config::{Outside, Receiver, resolve, unknown};
use crate::deliver::terminal::Look;
use crate::deliver::transport::Transport;
use crate::deliver::{Moment, notify_render, notify_test};
use crate::rule::problem::Refusal;
use crate::runtime::clock;

#[derive(Args, Debug)]
pub struct NotifyArgs {
    #[command(subcommand)]
    pub command: NotifyCommand,
}

#[derive(Subcommand, Debug)]
pub enum NotifyCommand {
    /// Send one marked test alert, the way every alert goes
    Test { receiver: String },
    /// Print the exact message for an alert read as JSON, without sending
    Render {
        receiver: String,
        /// The alert as `replay` prints it; `-` or none: stdin
        file: Option<PathBuf>,
    },
}

pub fn run(common: &Common, args: NotifyArgs) -> Exit {
    let look = match common.color.on_stdout() {
        true => Look::Color { columns: super::columns() },
        false => Look::Plain,
    };
    let moment = Moment { now: clock::now(), look };
    let name = match &args.command {
        NotifyCommand::Test { receiver } | NotifyCommand::Render { receiver, .. } => receiver,
    };
    let receiver = match find(common, name) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    match args.command {
        NotifyCommand::Test { .. } => test(receiver, moment),
        NotifyCommand::Render { file, .. } => render(&receiver, file, moment),
    }
}

fn find(common: &Common, name: &str) -> Result<Receiver, Refusal> {
    let config = config::read(common.config.as_deref())?;
    let names: Vec<&str> = config.receivers.0.iter().map(|it| it.0.as_str()).collect();
    if !names.contains(&name) {
        return Err(Refusal::of(unknown(name, &names)));
    }
    let receivers = resolve(&config.receivers, &Outside::system())
        .map_err(|problems| Refusal::of(problems.iter().map(|it| it.to_string()).collect::<Vec<_>>().join("\n")))?;
    receivers
        .into_iter()
        .find(|it| it.name == name)
        .ok_or_else(|| Refusal::of(format!("there is no receiver `{name}`")))
}

fn test(receiver: Receiver, moment: Moment) -> Exit {
    let name = receiver.name.clone();
    let sent = Transport::new(receiver, Arc::new(clock::now)).and_then(|transport| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
        runtime.block_on(notify_test(&transport, moment))
    });
    match sent {
        Ok(()) => {
            eprintln!("tripline: receiver `{name}` took a test alert");
            Exit::Done
        }
        Err(why) => {
            eprintln!("tripline: {why}");
            Exit::InputOutput
        }
    }
}

fn render(receiver: &Receiver, file: Option<PathBuf>, moment: Moment) -> Exit {
    let text = match file.filter(|it| it.as_os_str() != "-") {
        Some(path) => std::fs::read_to_string(&path).map_err(|it| format!("{}: {it}", path.display())),
        None => std::io::read_to_string(std::io::stdin()).map_err(|it| format!("stdin: {it}")),
    };
    match text.and_then(|it| notify_render(receiver, it.trim(), moment)) {
        Ok(message) => {
            println!("{}", message.trim_end_matches('\n'));
            Exit::Done
        }
        Err(why) => {
            eprintln!("tripline: {why}");
            Exit::InputOutput
        }
    }
}
