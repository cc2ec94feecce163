//! `tripline normalize`: what is understood of a log, one JSON object a record.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value as Json};

use super::output::{Lost, RejectWriter};
use super::replay::open;
use super::{Common, Exit};
use crate::deliver::escape;
use crate::engine::{EVERY_VALUE, Read, Reader, Rejected, RuleSet, Wanted};
use crate::model::{FieldId, Value};
use crate::runtime::clock;
use crate::runtime::setup::Setup;
use crate::source::batch::LineBatch;

#[derive(Args, Debug)]
pub struct NormalizeArgs {
    /// Log files (.gz and .zst as they are); `-` or none: stdin
    pub files: Vec<String>,
    /// Add the raw line as `event.original`
    #[arg(long)]
    pub original: bool,
    /// Lines that did not become events, one JSON object each
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

pub fn run(common: &Common, args: NormalizeArgs) -> Exit {
    let setup = match Setup::prepare(&common.choice(), Wanted::All) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let readers = match open(&args.files, setup.config.limits.line.0 as usize) {
        Ok(it) => it,
        Err(exit) => return exit,
    };
    let mut broken = Vec::new();
    let result = RejectWriter::open(args.rejects.as_deref()).and_then(|mut rejects| {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
        let reference = clock::now();
        let mut reader = Reader::new(setup.set.clone(), setup.enricher());
        let writer = Writer::new(&setup.set, args.original);
        for mut input in readers {
            let mut batch = LineBatch::default();
            // What one file lacks is no reason to leave out the others.
            while input.next(&mut batch).unwrap_or_else(|error| {
                broken.push(error);
                false
            }) {
                let name = input.name().clone();
                for reject in batch.rejects() {
                    rejects.write(&name, &Rejected::new(reject.number, reject.reason, reject.bytes));
                    writer.failed(&String::from_utf8_lossy(reject.bytes), reject.reason, &mut out)?;
                }
                for line in batch.lines() {
                    let mut failed = Ok(());
                    let read = reader.read(line.text, &setup.reading, reference, &mut |read, _| {
                        let object = writer.object(read, line.text);
                        if failed.is_ok() {
                            failed = writeln!(out, "{}", escape::json(&object));
                        }
                    });
                    failed?;
                    if let Err(reason) = read {
                        rejects.write(&name, &Rejected::new(line.number, reason, line.text.as_bytes()));
                        writer.failed(line.text, reason, &mut out)?;
                    }
                }
                out.flush()?;
                batch.clear();
            }
        }
        let kept = rejects.end();
        out.flush()?;
        Ok(kept)
    });
    broken.iter().for_each(|it| eprintln!("tripline: {it}"));
    match result {
        Ok(Ok(())) if broken.is_empty() => Exit::Done,
        Ok(Ok(()) | Err(Lost)) => Exit::InputOutput,
        Err(error) => Exit::of(Err(error)),
    }
}

/// Events as nested ECS objects.
pub(super) struct Writer<'a> {
    set: &'a RuleSet,
    /// Mapped fields by name, so that objects come out in one order.
    fields: Vec<(&'a str, FieldId)>,
    original: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(set: &'a RuleSet, original: bool) -> Writer<'a> {
        // Not what is only another name of other fields.
        let is_shown = |name: &str| name != EVERY_VALUE && !name.starts_with("entity.");
        let mut fields: Vec<(&str, FieldId)> = set.fields.all_mapped().filter(|it| is_shown(it.0)).collect();
        fields.sort_unstable();
        Writer { set, fields, original }
    }

    pub(super) fn object(&self, read: &Read<'_>, line: &str) -> Json {
        let mut object = Map::new();
        if let Some(time) = read.event().buf.time {
            object.insert("@timestamp".into(), time.to_string().into());
        }
        object.insert("activity".into(), "other".into());
        for (name, id) in &self.fields {
            if let Some(value) = read.event().get(*id).and_then(|it| json_of(name, it)) {
                insert(&mut object, name, value);
            }
        }
        if self.original || read.schema.is_none() {
            insert(&mut object, "event.original", line.into());
        }
        if read.schema.is_none() {
            let known = self.set.schemas.len();
            insert(
                &mut object,
                "error.message",
                format!("none of the {known} loaded schemas knows this record").into(),
            );
        }
        Json::Object(object)
    }

    fn failed(&self, line: &str, reason: &str, out: &mut dyn Write) -> io::Result<()> {
        let object = serde_json::json!({
            "activity": "other",
            "event": {"original": line},
            "error": {"message": format!("the line was rejected: {reason}")},
        });
        writeln!(out, "{}", escape::json(&object))
    }
}

/// A value as JSON; None where there is nothing to say.
fn json_of(name: &str, value: Value<'_>) -> Option<Json> {
    let several = matches!(name, "user.roles" | "tags");
    Some(match value {
        Value::Null => return None,
        Value::Bool(it) => it.into(),
        Value::Text("") => return None,
        Value::Text(it) if several => vec![it].into(),
        Value::Text(it) => it.into(),
        Value::Number(it) => serde_json::from_str(it).unwrap_or_else(|_| it.into()),
        Value::Json(it) => serde_json::from_str(it).ok()?,
        Value::List(it) => it.iter().collect::<Vec<_>>().into(),
    })
}

/// Puts a value where a dotted name says. Where a value already stands in the way of an object, it wins.
fn insert(object: &mut Map<String, Json>, name: &str, value: Json) {
    match name.split_once('.') {
        None => {
            object.insert(name.into(), value);
        }
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
