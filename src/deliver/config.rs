//! The `receivers` and `routes` of the configuration file.
//!
//! As it is written ([`Setting`], [`Route`]) it can be printed again with every secret hidden; resolved ([`Receiver`],
//! [`Routes`]) it is ready to use. The step between reads environment and secret files, through functions handed in,
//! and finds every problem instead of the first. A secret literal is allowed, and printed as `***` wherever it turns up.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::guard::Network;
use super::tempo::Tempo;
use super::webhook::{self, Key};
use crate::model::text_or_name::{self, TextOrName};
use crate::model::{Alert, Severity};

/// Bytes of a secret file. More: refused; it is something else.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The text itself. Only for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

/// A text value: `"text"`, `Env("NAME")` or `FileSecret("PATH")`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub enum Text {
    Env(String),
    FileSecret(String),
    #[serde(untagged)]
    Plain(String),
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Plain(text) => write!(f, "{text:?}"),
            Text::Env(name) => write!(f, "Env({name:?})"),
            Text::FileSecret(path) => write!(f, "FileSecret({path:?})"),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_name::deserialize(deserializer)
    }
}

impl TextOrName for Text {
    fn of_text(text: String) -> Text {
        Text::Plain(text)
    }

    fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Text")]
        enum Named {
            Env(String),
            FileSecret(String),
        }
        match Named::deserialize(deserializer) {
            Ok(Named::Env(name)) => Ok(Text::Env(name)),
            Ok(Named::FileSecret(path)) => Ok(Text::FileSecret(path)),
            Err(_) => Err(de::Error::custom("expected a text, Env(\"NAME\") or FileSecret(\"PATH\")")),
        }
    }
}

/// A [`Text`] whose literal is a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(Text);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Text::Plain(_) => f.write_str("***"),
            it @ (Text::Env(_) | Text::FileSecret(_)) => it.fmt(f),
        }
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Text::Plain(_) => serializer.serialize_str("***"),
            it @ (Text::Env(_) | Text::FileSecret(_)) => it.serialize(serializer),
        }
    }
}

impl Hidden {
    /// The secret, from the environment of the process and its files; the error says why it cannot be had.
    pub fn from_system(&self) -> Result<Secret, String> {
        let (outside, mut problems) = (Outside::system(), Vec::new());
        let mut reader = Reader { name: "", outside: &outside, problems: &mut problems, print: DefaultHasher::new() };
        let secret = reader.hidden("", self).filter(|it| !it.expose().is_empty());
        secret.ok_or_else(|| problems.pop().map_or("is empty".into(), |it| it.problem))
    }
}

/// How mail is protected on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Tls {
    /// Not at all. Refused together with a password.
    None,
    /// By STARTTLS, or not sent.
    StartTls,
    /// From the first byte (port 465).
    Tls,
}

/// One receiver as it is written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Setting {
    Webhook {
        url: Hidden,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        secret: Option<Hidden>,
        #[serde(default)]
        allow_destinations: Vec<Text>,
        #[serde(default)]
        headers: Ordered<Hidden>,
        /// A PEM file of more authorities to trust.
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        ca: Option<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        at_most: Option<Text>,
    },
    Slack {
        url: Hidden,
        #[serde(default)]
        allow_destinations: Vec<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        ca: Option<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        at_most: Option<Text>,
    },
    Email {
        smtp: Text,
        from: Text,
        to: Vec<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        tls: Option<Tls>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        user: Option<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        password: Option<Hidden>,
        #[serde(default)]
        allow_destinations: Vec<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        ca: Option<Text>,
        #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
        at_most: Option<Text>,
    },
    Stdout {},
    JsonFile {
        path: Text,
    },
}

/// A value that stands there is `Some`: RON would want the word written.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The same on the way out.
pub fn bare<S: Serializer, T: Serialize>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_unit(),
    }
}

/// A map with its order kept and its keys told apart.
#[derive(Clone, PartialEq, Debug)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Ordered(Vec::new())
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names: {\"name\": …}")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut all: Vec<(String, T)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if all.iter().any(|(it, _)| *it == key) {
                        return Err(de::Error::custom(format!("`{key}` stands twice in this map")));
                    }
                    all.push((key, value));
                }
                Ok(Ordered(all))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// `receivers` as written: name to setting, in the order of the file.
pub type Settings = Ordered<Setting>;

/// One entry of `routes` as written. Every condition that is given must hold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// At least this severe.
    #[serde(default = "any_severity")]
    pub severity: Severity,
    pub to: Vec<String>,
    /// One of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// One of these rules, by id.
    #[serde(default)]
    pub rules: Vec<String>,
    /// What fits here goes no further.
    #[serde(default)]
    pub stop: bool,
}

fn any_severity() -> Severity {
    Severity::Info
}

/// What is wrong with the configuration, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `receivers.hook.url`, `routes[1].to`.
    pub at: String,
    pub problem: String,
    /// Text that stands at that place in the file, to put a caret under; never a secret.
    pub look_for: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)
    }
}

/// Where values that are not in the file come from.
pub struct Outside<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub file: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Outside<'static> {
    /// The environment of the process and its files.
    pub fn system() -> Outside<'static> {
        Outside { env: &|name| std::env::var(name).ok(), file: &|path| std::fs::read(path) }
    }
}

/// One receiver, ready to use.
#[derive(Debug)]
pub struct Receiver {
    pub name: String,
    pub channel: Channel,
    /// What comes faster is told together. None: everything one by one.
    pub at_most: Option<Tempo>,
    /// Of all it says, secrets too: two with the same one in one process are the same.
    pub print: u64,
}

#[derive(Debug)]
pub enum Channel {
    Webhook(Webhook),
    Slack(Slack),
    Email(Email),
    Stdout,
    JsonFile(PathBuf),
}

#[derive(Debug)]
pub struct Webhook {
    pub url: Secret,
    pub keys: Vec<Key>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub door: Door,
}

#[derive(Debug)]
pub struct Slack {
    pub url: Secret,
    pub door: Door,
}

#[derive(Debug)]
pub struct Email {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub tls: Tls,
    pub login: Option<(String, Secret)>,
    pub door: Door,
}

/// Where a receiver's connections may go, and whom they trust.
#[derive(Debug, Default)]
pub struct Door {
    pub allowed: Vec<Network>,
    /// More authorities, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Every receiver, or every problem.
pub fn resolve(settings: &Settings, outside: &Outside) -> Result<Vec<Receiver>, Vec<Problem>> {
    let mut receivers = Vec::new();
    let mut problems = Vec::new();
    for (name, setting) in &settings.0 {
        let mut reader = Reader { name, outside, problems: &mut problems, print: DefaultHasher::new() };
        // Literal secrets hide themselves here; they are hashed where they are read.
        format!("{setting:?}").hash(&mut reader.print);
        if name.is_empty() || !name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.')) {
            reader.say("", "is no name; write letters, digits, `-`, `_` and `.`", Some(name));
        }
        let at_most = reader.at_most(setting);
        if let Some(channel) = reader.channel(setting) {
            receivers.push(Receiver { name: name.clone(), channel, at_most, print: reader.print.finish() });
        }
    }
    if problems.is_empty() { Ok(receivers) } else { Err(problems) }
}

/// Reads the values of one receiver and collects what is wrong with them.
struct Reader<'a, 'b> {
    name: &'a str,
    outside: &'a Outside<'a>,
    problems: &'b mut Vec<Problem>,
    print: DefaultHasher,
}

impl Reader<'_, '_> {
    fn channel(&mut self, setting: &Setting) -> Option<Channel> {
        match setting {
            Setting::Webhook { url, secret, allow_destinations, headers, ca, .. } => {
                let url = self.url(url);
                let keys = secret.as_ref().map(|it| self.keys(it));
                let headers = self.headers(headers);
                let door = self.door(allow_destinations, ca.as_ref());
                let keys = keys.map_or(Some(Vec::new()), |it| it)?;
                Some(Channel::Webhook(Webhook { url: url?, keys, headers: headers?, door: door? }))
            }
            Setting::Slack { url, allow_destinations, ca, .. } => {
                let (url, door) = (self.url(url), self.door(allow_destinations, ca.as_ref()));
                Some(Channel::Slack(Slack { url: url?, door: door? }))
            }
            Setting::Email { smtp, from, to, tls, user, password, allow_destinations, ca, .. } => {
                let server = self.server(smtp);
                let from = self.mailbox("from", from);
                if to.is_empty() {
                    self.say("to", "is empty; name at least one address", None);
                }
                let to: Vec<Option<Mailbox>> = to.iter().map(|it| self.mailbox("to", it)).collect();
                let login = self.login(user.as_ref(), password.as_ref());
                let door = self.door(allow_destinations, ca.as_ref());
                let (scheme_tls, host, port) = server?;
                let tls = self.tls(*tls, scheme_tls, &host, login.as_ref().is_some_and(|it| it.is_some()))?;
                let port = port.unwrap_or(match tls {
                    Tls::None => 25,
                    Tls::StartTls => 587,
                    Tls::Tls => 465,
                });
                let to = to.into_iter().collect::<Option<Vec<_>>>().filter(|it| !it.is_empty())?;
                Some(Channel::Email(Email { host, port, from: from?, to, tls, login: login?, door: door? }))
            }
            Setting::Stdout {} => Some(Channel::Stdout),
            Setting::JsonFile { path } => {
                let path = self.text("path", path)?;
                if path.is_empty() {
                    self.say("path", "is empty", None);
                }
                Some(Channel::JsonFile(path.into()))
            }
        }
    }

    /// People read one message at a time; programs do not mind. What is written goes before what the channel is used to.
    fn at_most(&mut self, setting: &Setting) -> Option<Tempo> {
        let (written, usual) = match setting {
            Setting::Webhook { at_most, .. } => (at_most, None),
            // Slack's own limit for incoming webhooks.
            Setting::Slack { at_most, .. } => (at_most, Some(Tempo::seconds(1))),
            Setting::Email { at_most, .. } => (at_most, Some(Tempo::seconds(60))),
            Setting::Stdout {} | Setting::JsonFile { .. } => return None,
        };
        let Some(written) = written else { return usual };
        let text = self.text("at_most", written)?;
        if text == "unlimited" {
            return None;
        }
        let tempo = Tempo::parse(&text);
        if tempo.is_none() {
            let problem = "is no tempo; write how many messages in which time, such as `1/s`, `10/min`, `100/hour`, or `unlimited`";
            self.say("at_most", problem, Some(&text));
        }
        tempo
    }

    fn say(&mut self, key: &str, problem: &str, look_for: Option<&str>) {
        let at = format!("receivers.{}{}{key}", self.name, if key.is_empty() { "" } else { "." });
        let look_for = look_for.map_or_else(|| format!("{:?}", self.name), |it| format!("{it:?}"));
        self.problems.push(Problem { at, problem: problem.into(), look_for: Some(look_for) });
    }

    fn text(&mut self, key: &str, text: &Text) -> Option<String> {
        let value = self.read(key, text);
        value.hash(&mut self.print);
        value
    }

    fn read(&mut self, key: &str, text: &Text) -> Option<String> {
        match text {
            Text::Plain(text) => Some(text.clone()),
            Text::Env(name) => {
                let value = (self.outside.env)(name);
                if value.is_none() {
                    let problem = format!("the environment variable `{name}` is not set (or no UTF-8)");
                    self.say(key, &problem, Some(name));
                }
                value
            }
            Text::FileSecret(path) => {
                let problem = match (self.outside.file)(Path::new(path)) {
                    Ok(bytes) if bytes.len() > SECRET_BYTES_MAX => "is longer than 64 KiB".to_string(),
                    Ok(bytes) => match String::from_utf8(bytes) {
                        Ok(text) => return Some(text.trim_end_matches(['\r', '\n']).to_string()),
                        Err(_) => "is no UTF-8".into(),
                    },
                    Err(error) => format!("cannot be read: {error}"),
                };
                self.say(key, &format!("the secret file `{path}` {problem}"), Some(path));
                None
            }
        }
    }

    fn hidden(&mut self, key: &str, text: &Hidden) -> Option<Secret> {
        self.text(key, &text.0).map(Secret)
    }

    fn url(&mut self, text: &Hidden) -> Option<Secret> {
        let secret = self.hidden("url", text)?;
        let problem = match Url::parse(secret.expose().trim()) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => "begins with neither https:// nor http://",
            Ok(url) if url.host_str().is_none_or(str::is_empty) => "names no host",
            Ok(url) => return Some(Secret(url.into())),
            Err(_) => "is no URL; write https://host/path",
        };
        self.say("url", problem, None);
        None
    }

    fn keys(&mut self, text: &Hidden) -> Option<Vec<Key>> {
        let secret = self.hidden("secret", text)?;
        webhook::keys(&secret).map_err(|problem| self.say("secret", &problem, None)).ok()
    }

    fn headers(&mut self, headers: &Ordered<Hidden>) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let mut found = Vec::new();
        for (name, value) in &headers.0 {
            let key = format!("headers.{name}");
            let value = self.hidden(&key, value)?;
            let ours = ["content-type", "content-length", "transfer-encoding", "host", "connection"];
            let lower = name.to_ascii_lowercase();
            if ours.contains(&lower.as_str()) || lower.starts_with("webhook-") {
                self.say(&key, "is set by Tripline and cannot be another", Some(name));
                return None;
            }
            match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.expose())) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    found.push((name, value));
                }
                (Err(_), _) => self.say(&key, "is no header name", Some(name)),
                (Ok(_), Err(_)) => self.say(&key, "holds characters that no header may hold", Some(name)),
            }
        }
        (found.len() == headers.0.len()).then_some(found)
    }

    fn door(&mut self, allowed: &[Text], ca: Option<&Text>) -> Option<Door> {
        let mut networks = Vec::new();
        for text in allowed {
            let text = self.text("allow_destinations", text)?;
            match Network::parse(&text) {
                Some(network) => networks.push(network),
                None => {
                    let problem = format!("`{text}` is no network; write 10.0.0.0/8, fd00::/8 or one address");
                    self.say("allow_destinations", &problem, Some(&text));
                    return None;
                }
            }
        }
        let ca = match ca {
            None => None,
            Some(path) => {
                let path = self.text("ca", path)?;
                match (self.outside.file)(Path::new(&path)) {
                    Ok(pem) => {
                        pem.hash(&mut self.print);
                        Some(pem)
                    }
                    Err(error) => {
                        self.say("ca", &format!("`{path}` cannot be read: {error}"), Some(&path));
                        return None;
                    }
                }
            }
        };
        Some(Door { allowed: networks, ca })
    }

    /// The scheme's protection, host and port of `smtp://host:port`.
    fn server(&mut self, text: &Text) -> Option<(Option<Tls>, String, Option<u16>)> {
        let text = self.text("smtp", text)?;
        let problem = match Url::parse(text.trim()) {
            Ok(url) if !matches!(url.scheme(), "smtp" | "smtps") => "begins with neither smtp:// nor smtps://",
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "holds a user; write `user` and `password` as values of their own"
            }
            Ok(url) if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() => {
                "holds more than a host and a port"
            }
            Ok(url) => match url.host_str().filter(|it| !it.is_empty()) {
                Some(host) => {
                    let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
                    let tls = (url.scheme() == "smtps").then_some(Tls::Tls);
                    return Some((tls, host, url.port()));
                }
                None => "names no host",
            },
            Err(_) => "is no address of a mail server; write smtp://host:587",
        };
        self.say("smtp", problem, None);
        None
    }

    fn mailbox(&mut self, key: &str, text: &Text) -> Option<Mailbox> {
        let text = self.text(key, text)?;
        let found = text.parse::<Mailbox>().ok().filter(|it| {
            // Letters beyond ASCII in the address itself need an extension that servers may lack; a name may have them.
            it.email.to_string().is_ascii() && !text.chars().any(crate::model::text::is_hostile)
        });
        if found.is_none() {
            self.say(key, &format!("`{}` is no mail address", super::escape::terminal(&text)), Some(&text));
        }
        found
    }

    fn login(&mut self, user: Option<&Text>, password: Option<&Hidden>) -> Option<Option<(String, Secret)>> {
        match (user, password) {
            (None, None) => Some(None),
            (Some(user), Some(password)) => {
                let (user, password) = (self.text("user", user), self.hidden("password", password));
                Some(Some((user?, password?)))
            }
            (Some(_), None) => {
                self.say("password", "is missing; `user` and `password` go together", None);
                None
            }
            (None, Some(_)) => {
                self.say("user", "is missing; `user` and `password` go together", None);
                None
            }
        }
    }

    /// STARTTLS is the default; only to this very machine, and without a password, mail goes in clear unless told.
    fn tls(&mut self, written: Option<Tls>, scheme: Option<Tls>, host: &str, has_login: bool) -> Option<Tls> {
        let local =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback());
        let default = if local && !has_login { Tls::None } else { Tls::StartTls };
        let tls = match (written, scheme) {
            (Some(Tls::None | Tls::StartTls), Some(Tls::Tls)) => {
                self.say("tls", "contradicts smtps://; write smtp://, or tls: Tls", None);
                return None;
            }
            (Some(tls), _) | (None, Some(tls)) => tls,
            (None, None) => default,
        };
        if tls == Tls::None && has_login {
            self.say("tls", "is None, so the password would be sent in clear; write StartTls or Tls", None);
            return None;
        }
        Some(tls)
    }
}

/// Who is told about which alerts.
#[derive(Clone, PartialEq, Debug)]
pub struct Routes {
    routes: Vec<(Route, Vec<usize>)>,
    receivers: usize,
}

impl Routes {
    /// To nobody: there is no receiver.
    pub fn none() -> Routes {
        Routes { routes: Vec::new(), receivers: 0 }
    }

    /// Receivers are known by their place in `names`.
    pub fn resolve(routes: &[Route], names: &[&str]) -> Result<Routes, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut known = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            if route.to.is_empty() {
                let problem = "names no receiver, so nobody would be told".to_string();
                problems.push(Problem { at: format!("routes[{index}].to"), problem, look_for: None });
            }
            let mut to = Vec::new();
            for name in &route.to {
                match names.iter().position(|it| it == name) {
                    Some(place) => to.push(place),
                    None => {
                        let problem = unknown(name, names);
                        let look_for = Some(format!("{name:?}"));
                        problems.push(Problem { at: format!("routes[{index}].to"), problem, look_for });
                    }
                }
            }
            known.push((route.clone(), to));
        }
        if problems.is_empty() { Ok(Routes { routes: known, receivers: names.len() }) } else { Err(problems) }
    }

    /// The receivers of an alert, by index, in the order of the configuration, each once. Without routes: all.
    pub fn receivers_for(&self, alert: &Alert) -> Vec<usize> {
        if self.routes.is_empty() {
            return (0..self.receivers).collect();
        }
        let mut found = Vec::new();
        for (route, to) in &self.routes {
            if fits(route, alert) {
                found.extend_from_slice(to);
                if route.stop {
                    break;
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn fits(route: &Route, alert: &Alert) -> bool {
    alert.rule.severity >= route.severity
        && (route.tags.is_empty() || route.tags.iter().any(|it| alert.rule.tags.contains(it)))
        && (route.rules.is_empty() || route.rules.contains(&alert.rule.id))
}

/// `no receiver is called `chta`; did you mean `chat`?`
pub fn unknown(name: &str, names: &[&str]) -> String {
    let mut text = format!("no receiver is called `{name}`");
    let near = names.iter().map(|it| (distance(name, it), *it)).min();
    match near {
        Some((distance, near)) if distance <= 2.max(near.len() / 3) => {
            text.push_str(&format!("; did you mean `{near}`?"))
        }
        Some(_) => text.push_str(&format!("; there are {}", names.join(", "))),
        None => text.push_str("; there are none"),
    }
    text
}

/// Edits from one word to the other (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;

    fn outside() -> Outside<'static> {
        Outside {
            env: &|name| (name == "SLACK_URL").then(|| "https://hooks.slack.com/services/T0/B0/xyz".into()),
            file: &|path| match path.to_str() {
                Some("/secret/key") => Ok(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".to_vec()),
                _ => Err(io::Error::from(io::ErrorKind::NotFound)),
            },
        }
    }

    /// The receivers, or the problems one a line.
    fn load(text: &str) -> Result<Vec<Receiver>, String> {
        let settings: Settings = ron::from_str(text).map_err(|it| it.to_string())?;
        resolve(&settings, &outside()).map_err(|all| all.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn check(text: &str, expected: &str) {
        match load(text) {
            Ok(found) => assert_eq!("fine", expected, "{text}: {found:?}"),
            Err(found) => assert!(found.contains(expected), "{text}\n  expected {expected}\n  found {found}"),
        }
    }

    const REFERENCE: &str = r#"{
        "hook": Webhook(url: "https://hook.example/p", secret: FileSecret("/secret/key"), allow_destinations: ["127.0.0.0/8"],
            headers: {"X-Team": "blue", "authorization": Env("SLACK_URL")}),
        "chat": Slack(url: Env("SLACK_URL"), allow_destinations: []),
        "mail": Email(smtp: "smtp://host:587", from: "tripline@example.com", to: ["soc@example.com", "Ann <ann@example.com>"], tls: StartTls,
            user: "tripline", password: "hunter2"),
        "term": Stdout(),  "log": JsonFile(path: "alerts.ndjson"),
    }"#;

    #[test]
    fn the_reference_loads() {
        let found = load(REFERENCE).unwrap();
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["hook", "chat", "mail", "term", "log"]);
        let Channel::Email(mail) = &found[2].channel else { panic!() };
        assert_eq!((mail.host.as_str(), mail.port, mail.tls, mail.to.len()), ("host", 587, Tls::StartTls, 2));
        let Channel::Webhook(hook) = &found[0].channel else { panic!() };
        assert_eq!((hook.keys.len(), hook.headers.len(), hook.door.allowed.len()), (1, 2, 1));
    }

    #[test]
    fn secrets_are_never_printed() {
        let settings: Settings = ron::from_str(REFERENCE).unwrap();
        let resolved = resolve(&settings, &outside()).unwrap();
        let printed = ron::ser::to_string_pretty(&settings, Default::default()).unwrap();
        for text in [format!("{settings:?}"), printed.clone(), format!("{resolved:?}")] {
            for secret in ["hook.example", "hunter2", "blue", "MfKQ", "services/T0"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
        assert!(printed.contains("Env(\"SLACK_URL\")") && printed.contains("***"), "{printed}");
        // What is printed can be read again.
        ron::from_str::<Settings>(&printed).unwrap();
        let secret = Secret::new("x");
        assert_eq!(format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap()), "*** *** \"***\"");
    }

    #[test]
    fn problems_say_where_and_what() {
        check(r#"{"a": Slack(url: Env("NOPE"))}"#, "receivers.a.url: the environment variable `NOPE` is not set");
        check(r#"{"a": Slack(url: FileSecret("/nope"))}"#, "receivers.a.url: the secret file `/nope` cannot be read");
        check(r#"{"a": Slack(url: 5)}"#, "expected a text, Env");
        check(r#"{"a": Slack(url: Var("X"))}"#, "expected a text, Env");
        check(r#"{"a": Slack(url: "ftp://x")}"#, "receivers.a.url: begins with neither https://");
        check(r#"{"a": Slack(url: "hello")}"#, "receivers.a.url: is no URL");
        check(r#"{"a": Slack()}"#, "url");
        check(r#"{"a": Slak(url: "https://x")}"#, "Slak");
        check(r#"{"a": Slack(url: "https://x", colour: "red")}"#, "colour");
        check(r#"{"a": Stdout(), "a": Stdout()}"#, "`a` stands twice");
        check(r#"{"a b": Stdout()}"#, "is no name");
        check(r#"{"a": Webhook(url: "https://x", secret: "oops!")}"#, "receivers.a.secret: is no signing key");
        check(r#"{"a": Webhook(url: "https://x", allow_destinations: ["localhost"])}"#, "`localhost` is no network");
        check(r#"{"a": Webhook(url: "https://x", headers: {"Webhook-Id": "1"})}"#, "is set by Tripline");
        check(r#"{"a": Webhook(url: "https://x", headers: {"X": "a\r\nb"})}"#, "no header may hold");
        check(r#"{"a": Webhook(url: "https://x", ca: "/nope.pem")}"#, "receivers.a.ca: `/nope.pem` cannot be read");
        let mail = |rest: &str| format!(r#"{{"m": Email(smtp: "smtp://h", from: "a@b.c", to: ["d@e.f"], {rest})}}"#);
        check(&mail(r#"user: "u""#), "receivers.m.password: is missing");
        check(&mail(r#"user: "u", password: "p", tls: None"#), "sent in clear");
        check(r#"{"m": Email(smtp: "smtp://h", from: "a@b.c", to: [])}"#, "receivers.m.to: is empty");
        check(r#"{"m": Email(smtp: "smtp://h", from: "nobody", to: ["d@e.f"])}"#, "`nobody` is no mail address");
        check(r#"{"m": Email(smtp: "smtp://h", from: "a@b.c", to: ["d@e.f\r\nBcc: x@y.z"])}"#, "is no mail address");
        check(r#"{"m": Email(smtp: "smtp://h", from: "ann@b.c", to: ["é@e.f"])}"#, "`é@e.f` is no mail address");
        check(r#"{"m": Email(smtp: "smtp://h", from: "Zoë <zoe@b.c>", to: ["d@e.f"])}"#, "fine");
        check(r#"{"m": Email(smtp: "smtp://u:p@h", from: "a@b.c", to: ["d@e.f"])}"#, "holds a user");
        check(r#"{"m": Email(smtp: "smtps://h", from: "a@b.c", to: ["d@e.f"], tls: None)}"#, "contradicts");
    }

    #[test]
    fn a_problem_never_shows_a_secret() {
        for text in [
            r#"{"a": Slack(url: "gopher://hunter2")}"#,
            r#"{"a": Webhook(url: "https://x", secret: "hunter2!")}"#,
            r#"{"m": Email(smtp: "smtp://u:hunter2@h", from: "a@b.c", to: ["d@e.f"])}"#,
        ] {
            let found = load(text).unwrap_err();
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn mail_is_protected_unless_it_stays_here() {
        for (server, rest, expected) in [
            ("smtp://relay.example", "", (Tls::StartTls, 587)),
            ("smtp://relay.example", "tls: None", (Tls::None, 25)),
            ("smtp://relay.example:2525", "tls: Tls", (Tls::Tls, 2525)),
            ("smtps://relay.example", "", (Tls::Tls, 465)),
            ("smtp://127.0.0.1:25", "", (Tls::None, 25)),
            ("smtp://[::1]", "", (Tls::None, 25)),
            ("smtp://localhost", r#"user: "u", password: "p""#, (Tls::StartTls, 587)),
        ] {
            let text = format!(r#"{{"m": Email(smtp: "{server}", from: "a@b.c", to: ["d@e.f"], {rest})}}"#);
            let found = load(&text).unwrap();
            let Channel::Email(mail) = &found[0].channel else { panic!() };
            assert_eq!((mail.tls, mail.port), expected, "{text}");
        }
    }

    fn check_routes(routes: &str, severity: Severity, expected: &str) {
        let routes: Vec<Route> = ron::from_str(routes).unwrap();
        let names = ["hook", "chat", "mail"];
        let found = match Routes::resolve(&routes, &names) {
            Ok(routes) => {
                let mut alert = sample::alert();
                alert.rule.severity = severity;
                let found: Vec<&str> = routes.receivers_for(&alert).into_iter().map(|it| names[it]).collect();
                found.join(" ")
            }
            Err(problems) => problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn every_route_that_fits_takes_it() {
        use Severity::{Critical, Info, Low};
        check_routes("[]", Info, "hook chat mail");
        let reference = r#"[(severity: High, to: ["chat", "mail"]), (to: ["hook"])]"#;
        check_routes(reference, Critical, "hook chat mail");
        check_routes(reference, Low, "hook");
        check_routes(r#"[(severity: High, to: ["mail", "mail"], stop: true), (to: ["hook"])]"#, Critical, "mail");
        check_routes(r#"[(severity: High, to: ["mail"], stop: true), (to: ["hook"])]"#, Low, "hook");
        check_routes(r#"[(to: ["mail"], tags: ["x", "brute-force"])]"#, Low, "mail");
        check_routes(r#"[(to: ["mail"], tags: ["x"])]"#, Low, "");
        check_routes(r#"[(to: ["mail"], rules: ["repeated-login-failures"], severity: Critical)]"#, Low, "");
        check_routes(r#"[(to: ["mail"], rules: ["repeated-login-failures"])]"#, Low, "mail");
        check_routes(r#"[(to: ["chta"])]"#, Low, "routes[0].to: no receiver is called `chta`; did you mean `chat`?");
        check_routes(
            r#"[(to: ["zzzzzzz"])]"#,
            Low,
            "routes[0].to: no receiver is called `zzzzzzz`; there are hook, chat, mail",
        );
        check_routes("[(to: [])]", Low, "routes[0].to: names no receiver, so nobody would be told");
    }
}
