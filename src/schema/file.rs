//! A schema as it is written: one RON file a vendor record, under `rules/schemas/`.
//!
//! A schema says how to recognise a vendor's record and what its parts mean, in ECS names and [activities](ACTIVITIES).
//! Whatever is named in `recognise`, `when` and in [`Take::Path`] is a path of the record, never an ECS name.
//!
//! Paths: keys joined by dots (`client.ipAddress`); a key that itself holds dots needs nothing special, for decoders find
//! `{"addr.remote": 1}` and `{"addr": {"remote": 1}}` under the one path `addr.remote`. `a[0]` is an element, `a[-1]` the
//! last, `a[x=y].z` the `z` of the first element of `a` whose `x` is `y` and that has one (in a condition: of any of them),
//! `a[].z` every `z` (a list); after `split: "events"`, `events[]` is the element the event was made of.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::expr::{Expr, pattern};
use crate::model::text_or_name::{self, TextOrName};

/// The closed list of meanings, the same for every vendor.
pub const ACTIVITIES: [&str; 25] = [
    "login.success",
    "login.failure",
    "logout",
    "session.expired",
    "mfa.challenge_denied",
    "mfa.enabled",
    "mfa.disabled",
    "password.changed",
    "password.reset",
    "role.admin_assigned",
    "role.assigned",
    "role.revoked",
    "user.created",
    "user.deleted",
    "user.enabled",
    "user.disabled",
    "credential.created",
    "credential.deleted",
    "secret.read",
    "data.read",
    "data.exported",
    "audit.disabled",
    "policy.changed",
    "sso.changed",
    "other",
];

/// One vendor record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "Schema", deny_unknown_fields)]
pub struct Schema {
    /// Goes to `event.provider`: `okta`, `keyrunner.access`.
    pub id: String,
    /// The vendor's name for it.
    pub title: String,
    /// Pages of the vendor that describe it.
    #[serde(default)]
    pub docs: Vec<String>,
    /// The formats such records come in (`json`, `syslog`, …). Empty: any.
    #[serde(default)]
    pub formats: Vec<String>,
    /// Where several schemas recognise a record, the highest wins; equal ones in order of id. Generic schemas are below 0.
    #[serde(default)]
    pub priority: i32,
    /// What only this vendor's record has. Prefer `Exists` and `Eq` on few keys: they cost one probe.
    pub recognise: Expr,
    /// Path of an array: the record becomes one event an element.
    #[serde(default)]
    pub split: Option<String>,
    /// The text (a path) that the cases' `form` patterns are tried on; `@action`: the action. Default `message`.
    #[serde(default)]
    pub text: Option<String>,
    /// How often the event happened, where one record stands for several (`message repeated 3 times`). At most 1000.
    #[serde(default)]
    pub repeat: Option<Take>,
    /// The vendor's own word for what was done: goes to `event.action`, and cases are chosen `on` it.
    #[serde(default)]
    pub action: Option<Take>,
    /// Compare `on` words without case.
    #[serde(default)]
    pub fold_actions: bool,
    /// ECS field to where it stands. `@timestamp` is the event time.
    #[serde(default)]
    pub fields: FieldMap,
    /// Named tables for [`Take::Lookup`].
    #[serde(default)]
    pub tables: Vec<(String, Vec<(String, String)>)>,
    /// Parts of regular expressions, by name: `{who}` in a case's form or in a [`Take::Capture`] stands for the part `who`. A
    /// phrase may name those before it.
    #[serde(default)]
    pub phrases: Vec<(String, String)>,
    /// What the actions mean. The first case that applies decides; none: activity `other`.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// ECS `tags` that do not depend on the case: each is given when its condition holds, beside those of the case.
    #[serde(default)]
    pub tags: Vec<(String, Expr)>,
    /// Records we wrote ourselves, as the vendor would log them, with what must come out of them.
    pub examples: Vec<Example>,
}

/// One meaning. Applies when `on` is empty or holds the action, and `when` holds, and `form` fits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// One of [`ACTIVITIES`].
    pub activity: String,
    #[serde(default)]
    pub on: Vec<String>,
    #[serde(default = "always")]
    pub when: Expr,
    /// Tried on the schema's `text`; its named groups are there for [`Take::Group`].
    #[serde(default)]
    pub form: Option<Wording>,
    /// More fields, or others than the schema's, for this meaning.
    #[serde(default)]
    pub set: FieldMap,
    /// Goes to ECS `tags`: things the activity list has no word for (tags of the command-line reference: `impersonation`).
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A regular expression that may name the schema's phrases; checked, but for those, when the file was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Wording(pub String);

impl<'de> Deserialize<'de> for Wording {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let spoken = fill(&text, &mut |_| Some("(?:)")).unwrap_or(Cow::Borrowed(&text));
        pattern::check(&spoken).map_err(de::Error::custom)?;
        Ok(Wording(text))
    }
}

impl Schema {
    /// The wording with its phrases put in.
    pub fn spoken<'a>(&'a self, wording: &'a Wording) -> Result<Cow<'a, str>, String> {
        self.spoken_by(&wording.0, &self.phrases)
    }

    fn spoken_by<'a>(&self, text: &'a str, phrases: &[(String, String)]) -> Result<Cow<'a, str>, String> {
        let mut unfit = None;
        let filled = fill(text, &mut |name| {
            let at = phrases.iter().position(|it| it.0 == name)?;
            match self.spoken_by(&phrases[at].1, &phrases[..at]) {
                Ok(it) => Some(it.into_owned()),
                Err(it) => {
                    unfit = Some(it);
                    None
                }
            }
        });
        filled.map_err(|it| unfit.unwrap_or(it))
    }
}

/// A text with what stands for each `{name}` in it. `\p{name}` and `\x{face}` are no names.
fn fill<'a, T: AsRef<str>>(text: &'a str, phrase: &mut dyn FnMut(&str) -> Option<T>) -> Result<Cow<'a, str>, String> {
    let mut filled = String::new();
    let mut done = 0;
    for (start, _) in text.match_indices('{') {
        let name = text[start + 1..].split('}').next().unwrap_or_default();
        let is_class = matches!(text.as_bytes()[..start], [.., b'\\', b'p' | b'P' | b'x' | b'u' | b'U']);
        let is_name = !name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
        if !is_name || is_class || text.as_bytes().get(start + 1 + name.len()) != Some(&b'}') {
            continue;
        }
        let part = phrase(name).ok_or_else(|| format!("there is no phrase `{name}` here"))?;
        filled.push_str(&text[done..start]);
        filled.push_str(part.as_ref());
        done = start + name.len() + 2;
    }
    if done == 0 {
        return Ok(Cow::Borrowed(text));
    }
    filled.push_str(&text[done..]);
    Ok(Cow::Owned(filled))
}

fn always() -> Expr {
    Expr::All(Vec::new())
}

/// An example record and the fields that must come out (ECS name to text; lists joined by `, `). Fields not named may be
/// anything; a value of `""` says the field must be absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub line: String,
    #[serde(default)]
    pub gives: Vec<(String, String)>,
}

/// ECS field names to where they stand, in the order written. In RON a map; a plain text is a path.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FieldMap(pub Vec<(String, Take)>);

/// Where a value stands and how it is made. A plain text is a path; everything else is one of these by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum Take {
    /// A path of the record.
    Path(String),
    /// A constant.
    Text(String),
    /// The first that is there (absent, null, empty text and empty lists are not).
    First(Vec<Take>),
    /// The value, if the condition holds.
    When(Expr, Box<Take>),
    /// A named group of the case's form.
    Group(String),
    /// The pattern's first group in the value (the whole match, if it has no group).
    Capture(Box<Take>, Wording),
    /// The value as a key of a table; absent if the table does not have it.
    Lookup(Box<Take>, String),
    /// The value, unless it is one of these (`unknown`, `-`); compared without case.
    Except(Box<Take>, Vec<String>),
    /// An address without its port, brackets, zone or IPv4-mapping; absent if it is no address (`AWS Internal`).
    Address(Box<Take>),
    /// A time: ISO forms and epochs in s, ms, µs, ns are recognised by themselves. Only for `@timestamp`.
    Time(Box<Take>),
    /// A time in chrono formats (`%d/%b/%Y:%H:%M:%S %z`), tried in order. Only for `@timestamp`.
    TimeAs(Box<Take>, Vec<String>),
    /// The text is JSON: the value at that path in it. An empty path unquotes a JSON text.
    Json(Box<Take>, String),
    /// The text is `a=1, b="2"`: the value of that key.
    Pairs(Box<Take>, String),
    /// The part at that place (from 0; −1 the last) of the text split at the separator.
    Split(Box<Take>, String, i32),
    /// The text split at the separator, as a list, parts trimmed.
    List(Box<Take>, String),
    /// All the values that are there, as one list.
    All(Vec<Take>),
    /// The values that are there, joined by the separator.
    Join(Vec<Take>, String),
    Lower(Box<Take>),
    /// Without these characters and white space at both ends.
    Trim(Box<Take>, String),
}

impl Serialize for Take {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Take::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Take {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_name::deserialize(deserializer)
    }
}

impl TextOrName for Take {
    fn of_text(path: String) -> Take {
        Take::Path(path)
    }

    fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Take, D::Error> {
        // The one that is derived.
        Take::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for FieldMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = FieldMap;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of ECS field names to paths: {\"user.name\": \"actor.email\"}")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<FieldMap, A::Error> {
                let mut all: Vec<(String, Take)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Take>()? {
                    if all.iter().any(|(it, _)| *it == key) {
                        return Err(de::Error::custom(format!("`{key}` stands twice in this map")));
                    }
                    all.push((key, value));
                }
                Ok(FieldMap(all))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
