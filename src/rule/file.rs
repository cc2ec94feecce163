//! A rule as it is written: one RON file each.

use std::ops::RangeInclusive;

use serde::ser::SerializeTupleVariant;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::detect::Detect;
use crate::expr::Expr;
use crate::model::text_or_name::{self, TextOrName};
use crate::model::{Severity, Span};

/// One rule. See `docs/rules.md`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename = "Rule", deny_unknown_fields)]
pub struct Rule {
    /// `[a-z0-9-]`, at most 64; stable for ever, because alert ids are made of it.
    pub id: String,
    /// The alert's summary. `{count}`, `{span}`, `{user.name}`, … are filled in.
    pub title: String,
    pub severity: Severity,
    #[serde(default)]
    pub tags: Vec<String>,
    /// False: only with `--rule`, `--all-rules` or the configuration's `enable`.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// True: judged and counted, and nobody is told. For a rule that is tried out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// For the person paged: what it means, what to check, when it is harmless.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What a line must satisfy. Kinds with conditions of their own (sequences) need none.
    #[serde(default = "always")]
    pub when: Expr,
    /// The fields that make an entity. Empty: the whole log is one.
    #[serde(default)]
    pub by: Vec<By>,
    pub detect: Detect,
    /// An open alert resolves when nothing was found for so long.
    #[serde(default = "quiet")]
    pub quiet: Span,
    /// Logs with the alerts in their margins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stories: Vec<String>,
}

fn yes() -> bool {
    true
}

fn is_true(it: &bool) -> bool {
    *it
}

fn always() -> Expr {
    Expr::All(Vec::new())
}

fn quiet() -> Span {
    Span::from_secs(600)
}

/// One field of the entity, and how its values are compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// As the field is: user names and addresses are folded, everything else is exact.
    Default(String),
    /// After Unicode NFKC and case folding.
    Fold(String),
    /// Byte for byte.
    Exact(String),
    /// IPv6 addresses by that many leading bits, [`PREFIX_BITS`]; IPv4 ones whole.
    Prefix(String, u8),
}

/// What a prefix may have: no provider has less than the fewest, and the most is what addresses are compared by anyway.
pub const PREFIX_BITS: RangeInclusive<u8> = 16..=64;

impl By {
    pub fn field(&self) -> &str {
        match self {
            By::Default(it) | By::Fold(it) | By::Exact(it) | By::Prefix(it, _) => it,
        }
    }

    /// Whether values are folded before they are compared.
    pub fn folds(&self) -> bool {
        match self {
            By::Fold(_) => true,
            By::Exact(_) | By::Prefix(..) => false,
            By::Default(field) => {
                ["user.", "entity.", "source.ip", "host."].iter().any(|it| field.starts_with(it))
                    && !field.ends_with(".id")
            }
        }
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            By::Default(it) => serializer.serialize_str(it),
            By::Fold(it) => serializer.serialize_newtype_variant("By", 0, "Fold", it),
            By::Exact(it) => serializer.serialize_newtype_variant("By", 1, "Exact", it),
            By::Prefix(it, bits) => {
                let mut tuple = serializer.serialize_tuple_variant("By", 2, "Prefix", 2)?;
                tuple.serialize_field(it)?;
                tuple.serialize_field(bits)?;
                tuple.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_name::deserialize(deserializer)
    }
}

impl TextOrName for By {
    fn of_text(field: String) -> By {
        By::Default(field)
    }

    fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<By, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "By")]
        enum Named {
            Fold(String),
            Exact(String),
            Prefix(String, u8),
        }
        Ok(match Named::deserialize(deserializer)? {
            Named::Fold(it) => By::Fold(it),
            Named::Exact(it) => By::Exact(it),
            Named::Prefix(it, bits) => By::Prefix(it, bits),
        })
    }
}
