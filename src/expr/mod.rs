//! The `when` language as it is written; [`plain`] says what it means.

pub mod backtrack;
pub mod list;
pub mod literal;
pub mod network;
pub mod pattern;
pub mod plain;

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// What a line must satisfy. Text compares case-sensitively unless inside [`Expr::NoCase`]. A field that is absent
/// satisfies no leaf; a field with several values satisfies a leaf when one of them does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Expr {
    /// Every one of them. `All([])` holds for every event.
    All(Vec<Expr>),
    /// At least one of them. `Any([])` never holds.
    Any(Vec<Expr>),
    Not(Box<Expr>),
    /// Compares text in the expression inside without case.
    NoCase(Box<Expr>),
    Eq(String, Literal),
    OneOf(String, Vec<Literal>),
    Contains(String, String),
    StartsWith(String, String),
    EndsWith(String, String),
    /// `*` any text, `?` one character, `\` takes the next literally; the whole value must fit.
    Glob(String, String),
    /// A regular expression found anywhere in the value; linear time.
    Matches(String, Pattern),
    /// The address lies in one of the networks.
    Cidr(String, Networks),
    Lt(String, f64),
    Le(String, f64),
    Gt(String, f64),
    Ge(String, f64),
    /// The field is there and is not null.
    Exists(String),
    /// Both fields are there and have the same text.
    SameAs(String, String),
    /// The value is in a list of the configuration: names, addresses or networks.
    InList(String, String),
}

/// A value to compare with: text, number or truth value.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Literal {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Literal;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text in quotes, a number, true or false")
            }
            fn visit_bool<E: de::Error>(self, it: bool) -> Result<Literal, E> {
                Ok(Literal::Bool(it))
            }
            fn visit_i64<E: de::Error>(self, it: i64) -> Result<Literal, E> {
                Ok(Literal::Int(it))
            }
            fn visit_u64<E: de::Error>(self, it: u64) -> Result<Literal, E> {
                i64::try_from(it)
                    .map(Literal::Int)
                    .map_err(|_| E::custom("the number is larger than 9223372036854775807"))
            }
            fn visit_f64<E: de::Error>(self, it: f64) -> Result<Literal, E> {
                Ok(Literal::Float(it))
            }
            fn visit_str<E: de::Error>(self, it: &str) -> Result<Literal, E> {
                Ok(Literal::Text(it.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A regular expression that was checked when the file was read.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        pattern::check(&text).map_err(de::Error::custom)?;
        Ok(Pattern(text))
    }
}

/// One network or several, `10.0.0.0/8` or a single address, checked when the file was read.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(transparent)]
pub struct Networks(pub Vec<String>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vec<String>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a network such as \"10.0.0.0/8\", or a list of them")
            }
            fn visit_str<E: de::Error>(self, it: &str) -> Result<Vec<String>, E> {
                Ok(vec![it.to_string()])
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
                let mut all = Vec::new();
                while let Some(it) = seq.next_element()? {
                    all.push(it);
                }
                Ok(all)
            }
        }
        let all = deserializer.deserialize_any(Visitor)?;
        for text in &all {
            if parse_network(text).is_none() {
                return Err(de::Error::custom(format!("`{text}` is no network; write 10.0.0.0/8 or 2001:db8::/32")));
            }
        }
        Ok(Networks(all))
    }
}

/// An address and a prefix length; IPv4 written inside IPv6 is IPv4. None when it is not a network or the prefix is too long.
pub fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let widest = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let prefix = prefix.unwrap_or(widest);
    match address.to_canonical() {
        IpAddr::V4(v4) if widest == 128 && (96..=128).contains(&prefix) => Some((v4.into(), prefix - 96)),
        _ => (prefix <= widest).then_some((address, prefix)),
    }
}

impl Expr {
    /// Calls `seen` with every field name in the expression.
    pub fn fields<'a>(&'a self, seen: &mut dyn FnMut(&'a str)) {
        match self {
            Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|it| it.fields(seen)),
            Expr::Not(part) | Expr::NoCase(part) => part.fields(seen),
            Expr::Eq(field, _)
            | Expr::OneOf(field, _)
            | Expr::Contains(field, _)
            | Expr::StartsWith(field, _)
            | Expr::EndsWith(field, _)
            | Expr::Glob(field, _)
            | Expr::Matches(field, _)
            | Expr::Cidr(field, _)
            | Expr::Lt(field, _)
            | Expr::Le(field, _)
            | Expr::Gt(field, _)
            | Expr::Ge(field, _)
            | Expr::Exists(field)
            | Expr::InList(field, _) => seen(field),
            Expr::SameAs(left, right) => {
                seen(left);
                seen(right);
            }
        }
    }
}
