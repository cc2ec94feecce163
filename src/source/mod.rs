//! Bytes to lines.
//!
//! Every source ends in the same [`frame::Framer`], which turns bytes into [`batch::LineBatch`]es; what differs is where
//! the bytes come from, and how their sender is told that they arrived.

pub mod batch;
pub mod download;
pub mod receipt;
pub mod frame;
mod document;
mod octets;
mod archive;
mod table;
pub mod reader;
pub mod file;
pub mod follow;
pub mod http;
pub mod stdin;
pub mod tcp;

use crate::model::Span;
use follow::PatternError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Every kind of source, in the order of the reference page.
pub const SOURCES: &[SourceSpec] = &[stdin::SPEC, tcp::SPEC, follow::SPEC, http::SPEC];

/// What the reference page, `--help` and the configuration check say about a kind of source.
#[derive(Debug, Clone, Copy)]
pub struct SourceSpec {
    /// As the configuration writes it.
    pub name: &'static str,
    pub about: &'static str,
    pub example: &'static str,
}

/// One entry of `sources:` in the configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SourceConfig {
    Stdin {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lateness: Option<Span>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    Tcp {
        listen: String,
        #[serde(default)]
        ack: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lateness: Option<Span>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    File {
        path: String,
        #[serde(default)]
        follow: bool,
        /// Followed files that are there when it first starts.
        #[serde(default)]
        from: follow::From,
        /// Followed files may be symbolic links.
        #[serde(default)]
        symlinks: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lateness: Option<Span>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    Http {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lateness: Option<Span>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

/// What any source may say. RON cannot flatten a struct into a variant, so each variant repeats these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common<'a> {
    /// None: recognised by content.
    pub format: Option<&'a str>,
    /// Of times without a zone. None: UTC.
    pub zone: Option<&'a str>,
    pub lateness: Option<Span>,
    /// Instead of `stdin`, a path or a peer's address.
    pub name: Option<&'a str>,
}

impl SourceConfig {
    pub fn common(&self) -> Common<'_> {
        match self {
            SourceConfig::Stdin { format, zone, lateness, name }
            | SourceConfig::Http { format, zone, lateness, name }
            | SourceConfig::Tcp { format, zone, lateness, name, .. }
            | SourceConfig::File { format, zone, lateness, name, .. } => {
                Common { format: format.as_deref(), zone: zone.as_deref(), lateness: *lateness, name: name.as_deref() }
            }
        }
    }
}

impl SourceConfig {
    /// What is well-formed and still cannot be done, and where in the path.
    pub fn check(&self) -> Result<(), PatternError> {
        match self {
            SourceConfig::File { path, follow: true, .. } => follow::Pattern::parse(path).map(|_| ()),
            SourceConfig::File { path, from, symlinks, .. } => {
                let is_option = *from != follow::From::Start || *symlinks;
                let error = |problem, advice| Err(PatternError { problem, advice, at: 0..path.len() });
                match is_option {
                    true => error("`from` and `symlinks` are for followed files", "add `follow: true`"),
                    false => Ok(()),
                }
            }
            SourceConfig::Stdin { .. } | SourceConfig::Tcp { .. } | SourceConfig::Http { .. } => Ok(()),
        }
    }

    /// Under what its positions are kept; two sources must not share it.
    pub fn path(&self) -> Option<&str> {
        match self {
            SourceConfig::File { path, .. } => Some(path),
            SourceConfig::Stdin { .. } | SourceConfig::Tcp { .. } | SourceConfig::Http { .. } => None,
        }
    }
}

/// Why a source gives no more lines: which, what happened, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SourceError {
    pub place: String,
    pub problem: String,
    /// Empty if `problem` says it already.
    pub advice: String,
}

/// Why nobody can be listened to on an address.
pub fn cannot_listen(what: &str, address: &str, error: &io::Error) -> SourceError {
    SourceError {
        place: format!("{what} {address}"),
        problem: format!("cannot listen: {error}"),
        advice: match error.kind() {
            io::ErrorKind::AddrInUse => "end the other program, or choose another port".into(),
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one".into(),
            _ => "write an address of this machine and a port, like 127.0.0.1:7171".into(),
        },
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A folder that is gone after the test.
    pub struct Folder(PathBuf);

    impl Folder {
        pub fn new() -> Folder {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = format!("tripline-source-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("the temporary folder can be written");
            Folder(path)
        }

        pub fn path(&self, name: &str) -> String {
            self.0.join(name).display().to_string()
        }

        pub fn write(&self, name: &str, content: &[u8]) -> String {
            let path = self.path(name);
            fs::write(&path, content).expect("the temporary folder can be written");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_example_is_a_configuration_of_that_kind() {
        for spec in SOURCES {
            let config: SourceConfig = ron::from_str(spec.example).expect(spec.example);
            let kind = match config {
                SourceConfig::Stdin { .. } => "Stdin",
                SourceConfig::Tcp { .. } => "Tcp",
                SourceConfig::File { .. } => "File",
                SourceConfig::Http { .. } => "Http",
            };
            assert_eq!(kind, spec.name);
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let of = |text: &str| ron::from_str::<SourceConfig>(text).expect(text).check().map_err(|it| it.problem);
        assert_eq!(of(r#"File(path: "/var/**/a.log", follow: true)"#), Err("`**` is not understood"));
        assert_eq!(of(r#"File(path: "a.log", from: End)"#), Err("`from` and `symlinks` are for followed files"));
        assert_eq!(of(r#"File(path: "a*.log", follow: true, from: End, symlinks: true)"#), Ok(()));
        assert_eq!(of(r#"File(path: "a.log")"#), Ok(()));
    }

    #[test]
    fn options_are_common() {
        let text = r#"[Stdin(), Tcp(listen: "127.0.0.1:0", ack: true, name: "edge"), File(path: "a", lateness: "5s", zone: "+02:00")]"#;
        let configs: Vec<SourceConfig> = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
            .from_str(text)
            .expect(text);
        assert_eq!(configs[0].common(), Common { format: None, zone: None, lateness: None, name: None });
        assert_eq!(configs[1].common().name, Some("edge"));
        assert_eq!(configs[2].common().lateness, Some(Span::from_secs(5)));
        let written = ron::to_string(&configs).expect("can be written");
        assert_eq!(ron::from_str::<Vec<SourceConfig>>(&written).expect(&written), configs);
        assert!(
            ron::from_str::<SourceConfig>(r#"Tcp(listen: "x", acks: true)"#).is_err(),
            "a misspelt option is an error"
        );
    }
}
