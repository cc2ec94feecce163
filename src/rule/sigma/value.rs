//! What a Sigma value means: wildcards, escapes, and the modifiers behind a field's name.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use saphyr::{Scalar, Yaml};

use super::regex::translate;
use crate::expr::list::List;
use crate::expr::{Expr, Literal, Networks, Pattern, parse_network};
use crate::matcher::Lists;

/// A part of a text with wildcards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    Char(char),
    /// `*`
    Any,
    /// `?`
    One,
}

/// Reads wildcards and escapes: a backslash takes `*`, `?` and `\` literally, and before anything else is itself.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(it) = chars.next() {
        out.push(match (it, chars.peek()) {
            ('\\', Some('*' | '?' | '\\')) => Piece::Char(chars.next().unwrap_or('\\')),
            ('*', _) => Piece::Any,
            ('?', _) => Piece::One,
            (it, _) => Piece::Char(it),
        });
    }
    out
}

/// The text, where there are no wildcards.
fn plain(pieces: &[Piece]) -> Option<String> {
    pieces.iter().map(|it| if let Piece::Char(it) = it { Some(*it) } else { None }).collect()
}

/// A value on its way through the modifiers.
#[derive(Clone, Debug)]
enum Value {
    Text(Vec<Piece>),
    Bytes(Vec<u8>),
    Other(Literal),
    Null,
}

/// What is asked of a value.
#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Equal,
    Regex(String),
    Cidr,
    Compare(Order),
    Exists,
    Field,
    /// Values that only the user's network knows: a list of the configuration.
    Listed,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    Lt,
    Le,
    Gt,
    Ge,
}

/// A part of a time, as it stands in ISO 8601 texts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

/// A field's condition: which paths of the record a name means, and where other fields named in values are found.
pub struct Field<'a> {
    /// None: a keyword, looked for in every value of the record.
    pub paths: Option<Vec<String>>,
    pub resolve: &'a dyn Fn(&str) -> Vec<String>,
    pub lists: &'a Lists,
    /// Whether its vendor delivers lists, which are there and say nothing when they are empty.
    pub may_be_list: bool,
}

/// The name behind which rules find every value of a record.
pub const EVERY_VALUE: &str = "record.values";

/// The condition of `field|modifiers: values`; or why it cannot be said.
pub fn condition(field: &Field<'_>, modifiers: &[&str], values: &[&Yaml<'_>]) -> Result<Expr, String> {
    if values.is_empty() {
        return Err("an empty list of values".into());
    }
    let chain = Chain::read(modifiers)?;
    let keyword = field.paths.is_none();
    let mut all: Vec<Vec<Value>> = Vec::new();
    for value in values {
        let value = read(value)?;
        if !chain.expand {
            all.push(chain.transform(value, keyword)?);
            continue;
        }
        for it in placeholder(&value, field.lists)?.1.entries() {
            all.push(chain.transform(Value::Text(it.chars().map(Piece::Char).collect()), keyword)?);
        }
    }
    let every = [EVERY_VALUE.to_string()];
    let paths: &[String] = field.paths.as_deref().unwrap_or(&every);
    if keyword && !matches!(chain.kind, Kind::Equal | Kind::Regex(_)) {
        return Err("a keyword cannot have this modifier: it needs a field".into());
    }
    let expr = match &chain.kind {
        Kind::Exists => exists(paths, &all)?,
        _ => {
            let has_null = all.iter().flatten().any(|it| matches!(it, Value::Null));
            if has_null && (chain.all && all.len() > 1 || keyword || chain.kind != Kind::Equal) {
                return Err("null cannot be combined with this modifier".into());
            }
            let absent = has_null.then(|| Expr::Not(Box::new(any(paths.iter().map(|it| Expr::Exists(it.clone()))))));
            all.iter_mut().for_each(|it| it.retain(|it| !matches!(it, Value::Null)));
            all.retain(|it| !it.is_empty());
            let mut parts = Vec::new();
            if !all.is_empty() {
                for path in paths {
                    parts.push(chain.on(path, &all, field)?);
                }
            }
            any(parts.into_iter().chain(absent))
        }
    };
    Ok(if chain.not { Expr::Not(Box::new(expr)) } else { expr })
}

/// That a field is a list of nothing, which tables show as the text `[]`.
pub fn no_element(path: &str) -> Expr {
    let not = |it: Expr| Expr::Not(Box::new(it));
    Expr::All(vec![
        Expr::Exists(path.into()),
        not(Expr::Exists(format!("{path}[]"))),
        not(Expr::Glob(path.into(), "?*".into())),
        not(Expr::Eq(path.into(), Literal::Text(String::new()))),
    ])
}

/// The list of the configuration that a placeholder names.
fn placeholder(value: &Value, lists: &Lists) -> Result<(String, Arc<List>), String> {
    let text = source(value).unwrap_or_default();
    let name = text.strip_prefix('%').and_then(|it| it.strip_suffix('%')).filter(|it| !it.contains('%'));
    let name = name.ok_or("`expand` takes a placeholder such as `%admins%`")?;
    let list = lists.get(name).ok_or_else(|| {
        format!(
            "`expand`: only you know what `{text}` is; give the configuration a list of that name \
             (`lists: {{\"{name}\": \"FILE\"}}`) and import again"
        )
    })?;
    Ok((name.to_string(), list))
}

fn exists(paths: &[String], all: &[Vec<Value>]) -> Result<Expr, String> {
    let expr = any(paths.iter().map(|it| Expr::Exists(it.clone())));
    match all {
        [one] => match one.as_slice() {
            [Value::Other(Literal::Bool(true))] => Ok(expr),
            [Value::Other(Literal::Bool(false))] => Ok(Expr::Not(Box::new(expr))),
            _ => Err("`exists` takes true or false".into()),
        },
        _ => Err("`exists` takes one value".into()),
    }
}

fn read(value: &Yaml<'_>) -> Result<Value, String> {
    match value {
        Yaml::Value(Scalar::Null) => Ok(Value::Null),
        Yaml::Value(Scalar::Boolean(it)) => Ok(Value::Other(Literal::Bool(*it))),
        Yaml::Value(Scalar::Integer(it)) => Ok(Value::Other(Literal::Int(*it))),
        Yaml::Value(Scalar::FloatingPoint(it)) => Ok(Value::Other(Literal::Float(it.into_inner()))),
        Yaml::Value(Scalar::String(it)) => Ok(Value::Text(it.chars().map(Piece::Char).collect())),
        _ => Err("a value that is neither text nor number".into()),
    }
}

/// The modifiers of one field, read.
#[derive(Debug)]
struct Chain {
    steps: Vec<Step>,
    kind: Kind,
    part: Option<Part>,
    all: bool,
    cased: bool,
    not: bool,
    expand: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Contains,
    StartsWith,
    EndsWith,
    Base64,
    Base64Offset,
    Utf16Le,
    Utf16Be,
    Utf16,
    Windash,
}

impl Chain {
    fn read(modifiers: &[&str]) -> Result<Chain, String> {
        let mut chain = Chain {
            steps: Vec::new(),
            kind: Kind::Equal,
            part: None,
            all: false,
            cased: false,
            not: false,
            expand: false,
        };
        let mut flags = String::new();
        let mut kinds = 0;
        for name in modifiers {
            let mut kind = |it: Kind, chain: &mut Chain| {
                kinds += 1;
                chain.kind = it;
            };
            match *name {
                "contains" => chain.steps.push(Step::Contains),
                "startswith" => chain.steps.push(Step::StartsWith),
                "endswith" => chain.steps.push(Step::EndsWith),
                "base64" => chain.steps.push(Step::Base64),
                "base64offset" => chain.steps.push(Step::Base64Offset),
                "utf16le" | "wide" => chain.steps.push(Step::Utf16Le),
                "utf16be" => chain.steps.push(Step::Utf16Be),
                "utf16" => chain.steps.push(Step::Utf16),
                "windash" => chain.steps.push(Step::Windash),
                "all" => chain.all = true,
                "cased" => chain.cased = true,
                "neq" => chain.not = true,
                "re" => kind(Kind::Regex(String::new()), &mut chain),
                "i" | "m" | "s" | "ignorecase" | "multiline" | "dotall" => flags.push_str(match *name {
                    "i" | "ignorecase" => "i",
                    "m" | "multiline" => "m",
                    _ => "s",
                }),
                "cidr" => kind(Kind::Cidr, &mut chain),
                "lt" => kind(Kind::Compare(Order::Lt), &mut chain),
                "lte" => kind(Kind::Compare(Order::Le), &mut chain),
                "gt" => kind(Kind::Compare(Order::Gt), &mut chain),
                "gte" => kind(Kind::Compare(Order::Ge), &mut chain),
                "exists" => kind(Kind::Exists, &mut chain),
                "fieldref" => kind(Kind::Field, &mut chain),
                "minute" => chain.part = Some(Part::Minute),
                "hour" => chain.part = Some(Part::Hour),
                "day" => chain.part = Some(Part::Day),
                "month" => chain.part = Some(Part::Month),
                "year" => chain.part = Some(Part::Year),
                "week" => return Err("`week`: the number of a week cannot be read off a time as it is written".into()),
                "expand" if chain.kind == Kind::Cidr => chain.kind = Kind::Listed,
                "expand" => kind(Kind::Listed, &mut chain),
                other => return Err(format!("the modifier `{other}` is not one of the specification")),
            }
        }
        if kinds > 1 {
            return Err(format!("the modifiers `{}` do not go together", modifiers.join("|")));
        }
        match &mut chain.kind {
            Kind::Regex(it) => *it = flags,
            _ if !flags.is_empty() => return Err("`i`, `m` and `s` belong behind `re`".into()),
            _ => {}
        }
        // Parts of texts cannot be looked up in a list: what it holds today becomes the values.
        if chain.kind == Kind::Listed && !chain.steps.is_empty() {
            (chain.kind, chain.expand) = (Kind::Equal, true);
        }
        let fits = match chain.kind {
            Kind::Equal => true,
            Kind::Regex(_) => chain.steps.iter().all(|it| *it == Step::Contains),
            Kind::Cidr | Kind::Compare(_) | Kind::Exists | Kind::Field | Kind::Listed => chain.steps.is_empty(),
        };
        let part_fits = chain.part.is_none()
            || chain.steps.is_empty() && matches!(chain.kind, Kind::Equal | Kind::Compare(_)) && !chain.all;
        if !fits || !part_fits {
            return Err(format!("the modifiers `{}` do not go together", modifiers.join("|")));
        }
        Ok(chain)
    }

    /// The values that one value stands for.
    fn transform(&self, value: Value, keyword: bool) -> Result<Vec<Value>, String> {
        // Everything but a plain comparison takes the text as it is: a regular expression has escapes of its own.
        let is_text = matches!(self.kind, Kind::Equal);
        let value = match value {
            Value::Text(it) if is_text => Value::Text(pieces(&plain(&it).unwrap_or_default())),
            Value::Other(it) if keyword || is_text && !self.steps.is_empty() => {
                Value::Text(words(&it).chars().map(Piece::Char).collect())
            }
            it => it,
        };
        let mut values = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in values {
                step.apply(value, &mut next)?;
            }
            values = next;
        }
        let placed = self.steps.iter().any(|it| matches!(it, Step::Contains | Step::StartsWith | Step::EndsWith));
        for value in &mut values {
            if let Value::Bytes(bytes) = value {
                let text = String::from_utf8(bytes.clone())
                    .map_err(|_| "UTF-16 of characters beyond ASCII is no text that a field could have".to_string())?;
                *value = Value::Text(text.chars().map(Piece::Char).collect());
            }
            // A keyword may stand anywhere in a value.
            if let Value::Text(pieces) = value
                && keyword
                && is_text
                && !placed
            {
                *pieces = Step::Contains.place(std::mem::take(pieces));
            }
        }
        Ok(values)
    }

    /// The condition on one path.
    fn on(&self, path: &str, all: &[Vec<Value>], field: &Field<'_>) -> Result<Expr, String> {
        let mut parts = Vec::new();
        for alternatives in all {
            let mut leaves = Vec::new();
            for value in alternatives {
                leaves.push(self.leaf(path, value, field)?);
            }
            parts.push(leaves);
        }
        Ok(match self.all {
            true => Expr::All(parts.into_iter().map(any_of).collect()).flat(),
            false => any_of(parts.into_iter().flatten().collect()),
        })
    }

    fn leaf(&self, path: &str, value: &Value, of: &Field<'_>) -> Result<Expr, String> {
        let field = path.to_string();
        if let Some(part) = self.part {
            return part.leaf(field, value, &self.kind);
        }
        match (&self.kind, value) {
            (Kind::Equal, Value::Text(pieces)) if of.may_be_list && is_anything(pieces) && !field.contains('[') => {
                let inside = Expr::Exists(format!("{field}[..]"));
                Ok(no_case(Expr::Any(vec![Expr::Glob(field, "*".into()), inside])))
            }
            (Kind::Equal, Value::Text(pieces)) => Ok(text_leaf(field, pieces, self.cased)),
            (Kind::Equal, Value::Other(it)) => Ok(match it {
                Literal::Bool(_) => Expr::NoCase(Box::new(Expr::Eq(field, it.clone()))),
                _ => Expr::Eq(field, it.clone()),
            }),
            (Kind::Regex(flags), value) => {
                let text = source(value).ok_or("`re` takes a text")?;
                let pattern = translate(&text)?;
                let pattern = if flags.is_empty() { pattern } else { format!("(?{flags}){pattern}") };
                crate::expr::pattern::read(&pattern)?;
                Ok(Expr::Matches(field, Pattern(pattern)))
            }
            (Kind::Cidr, value) => {
                let text = source(value).ok_or("`cidr` takes a network")?;
                match parse_network(&text) {
                    Some(_) => Ok(Expr::Cidr(field, Networks(vec![text]))),
                    None => Err(format!("`{text}` is no network")),
                }
            }
            (Kind::Compare(order), value) => {
                let number = number(value).ok_or("lt, lte, gt and gte take a number")?;
                Ok(match order {
                    Order::Lt => Expr::Lt(field, number),
                    Order::Le => Expr::Le(field, number),
                    Order::Gt => Expr::Gt(field, number),
                    Order::Ge => Expr::Ge(field, number),
                })
            }
            (Kind::Field, value) => {
                let other = source(value).ok_or("`fieldref` takes a field's name")?;
                let same = any((of.resolve)(&other).into_iter().map(|it| Expr::SameAs(field.clone(), it)));
                Ok(if self.cased { same } else { no_case(same) })
            }
            (Kind::Listed, value) => {
                let listed = Expr::InList(field, placeholder(value, of.lists)?.0);
                Ok(if self.cased { listed } else { no_case(listed) })
            }
            (Kind::Exists, _) | (Kind::Equal, Value::Bytes(_) | Value::Null) => {
                Err("a value that cannot be compared".into())
            }
        }
    }
}

impl Step {
    fn apply(self, value: Value, out: &mut Vec<Value>) -> Result<(), String> {
        match (self, value) {
            (_, Value::Null) => return Err("null cannot have this modifier".into()),
            (_, Value::Other(_)) => return Err("this modifier takes a text".into()),
            (Step::Contains | Step::StartsWith | Step::EndsWith, Value::Text(it)) => {
                out.push(Value::Text(self.place(it)));
            }
            (Step::Windash, Value::Text(it)) => windash(&it, out)?,
            (Step::Contains | Step::StartsWith | Step::EndsWith | Step::Windash, Value::Bytes(it)) => {
                let text = String::from_utf8(it)
                    .map_err(|_| "UTF-16 of characters beyond ASCII is no text that a field could have".to_string())?;
                self.apply(Value::Text(text.chars().map(Piece::Char).collect()), out)?;
            }
            (step, Value::Text(it)) => {
                let text = plain(&it).ok_or("a text with wildcards cannot be encoded")?;
                step.encode(text.into_bytes(), out)?;
            }
            (step, Value::Bytes(it)) => step.encode(it, out)?,
        }
        Ok(())
    }

    /// With the wildcards that the modifier stands for.
    fn place(self, mut pieces: Vec<Piece>) -> Vec<Piece> {
        if self != Step::StartsWith && pieces.first() != Some(&Piece::Any) {
            pieces.insert(0, Piece::Any);
        }
        if self != Step::EndsWith && (pieces.len() < 2 || pieces.last() != Some(&Piece::Any)) {
            pieces.push(Piece::Any);
        }
        pieces
    }

    fn encode(self, bytes: Vec<u8>, out: &mut Vec<Value>) -> Result<(), String> {
        let text = |it: String| Value::Text(it.chars().map(Piece::Char).collect());
        let units = |bytes: &[u8]| -> Result<Vec<u16>, String> {
            let text = std::str::from_utf8(bytes).map_err(|_| "UTF-16 can only be made of a text".to_string())?;
            Ok(text.encode_utf16().collect())
        };
        out.push(match self {
            Step::Base64 => text(STANDARD.encode(bytes)),
            Step::Utf16Le => Value::Bytes(units(&bytes)?.into_iter().flat_map(u16::to_le_bytes).collect()),
            Step::Utf16Be => Value::Bytes(units(&bytes)?.into_iter().flat_map(u16::to_be_bytes).collect()),
            Step::Utf16 => {
                let units = units(&bytes)?;
                Value::Bytes([0xfeff].into_iter().chain(units).flat_map(u16::to_le_bytes).collect())
            }
            Step::Base64Offset => {
                for shift in 0..3 {
                    out.push(text(base64_inside(&bytes, shift)));
                }
                return Ok(());
            }
            Step::Contains | Step::StartsWith | Step::EndsWith | Step::Windash => {
                return Err("this modifier encodes nothing".into());
            }
        });
        Ok(())
    }
}

/// The characters of Base64 that depend on these bytes alone when they begin `shift` bytes into a group of three.
fn base64_inside(bytes: &[u8], shift: usize) -> String {
    let shifted: Vec<u8> = std::iter::repeat_n(b' ', shift).chain(bytes.iter().copied()).collect();
    let encoded = STANDARD.encode(&shifted);
    let start = [0, 2, 3][shift];
    let cut = [0, 3, 2][shifted.len() % 3];
    encoded.get(start..encoded.len() - cut).unwrap_or_default().to_string()
}

const DASHES: [char; 5] = ['-', '/', '–', '—', '―'];

/// A dash that begins a flag (nothing or no letter before it, a letter or digit after it) may be any dash.
fn windash(pieces: &[Piece], out: &mut Vec<Value>) -> Result<(), String> {
    let is_word = |it: Option<&Piece>| matches!(it, Some(Piece::Char(it)) if it.is_alphanumeric() || *it == '_');
    let places: Vec<usize> = (0..pieces.len())
        .filter(|at| {
            let is_dash = matches!(pieces[*at], Piece::Char(it) if DASHES.contains(&it));
            is_dash && !(*at > 0 && is_word(pieces.get(at - 1))) && is_word(pieces.get(at + 1))
        })
        .collect();
    if places.len() > 3 {
        return Err(format!("`windash` on a text with {} dashes: too many forms", places.len()));
    }
    for number in 0..DASHES.len().pow(places.len() as u32) {
        let mut form = pieces.to_vec();
        let mut rest = number;
        for place in &places {
            form[*place] = Piece::Char(DASHES[rest % DASHES.len()]);
            rest /= DASHES.len();
        }
        out.push(Value::Text(form));
    }
    Ok(())
}

fn is_anything(pieces: &[Piece]) -> bool {
    !pieces.is_empty() && pieces.iter().all(|it| *it == Piece::Any)
}

/// A text test of one field.
fn text_leaf(field: String, pieces: &[Piece], cased: bool) -> Expr {
    if is_anything(pieces) {
        return Expr::Exists(field);
    }
    let before = pieces.iter().take_while(|it| **it == Piece::Any).count();
    let after = pieces.iter().rev().take_while(|it| **it == Piece::Any).count();
    let leaf = match (plain(&pieces[before..pieces.len() - after]), before > 0, after > 0) {
        (Some(text), false, false) => Expr::Eq(field, Literal::Text(text)),
        (Some(text), true, true) => Expr::Contains(field, text),
        (Some(text), false, true) => Expr::StartsWith(field, text),
        (Some(text), true, false) => Expr::EndsWith(field, text),
        (None, ..) => Expr::Glob(field, glob(pieces)),
    };
    let has_case = pieces.iter().any(|it| matches!(it, Piece::Char(it) if it.is_alphabetic() || !it.is_ascii()));
    if cased || !has_case { leaf } else { no_case(leaf) }
}

fn no_case(expr: Expr) -> Expr {
    Expr::NoCase(Box::new(expr))
}

fn glob(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Any => out.push('*'),
            Piece::One => out.push('?'),
            Piece::Char(it @ ('*' | '?' | '\\')) => out.extend(['\\', *it]),
            Piece::Char(it) => out.push(*it),
        }
    }
    out
}

/// A number or truth value as text.
fn words(it: &Literal) -> String {
    match it {
        Literal::Text(it) => it.clone(),
        Literal::Int(it) => it.to_string(),
        Literal::Float(it) => it.to_string(),
        Literal::Bool(it) => it.to_string(),
    }
}

fn source(value: &Value) -> Option<String> {
    match value {
        Value::Text(it) => plain(it),
        Value::Other(it) => Some(words(it)),
        Value::Bytes(_) | Value::Null => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Other(Literal::Int(it)) => Some(*it as f64),
        Value::Other(Literal::Float(it)) => Some(*it),
        it => source(it)?.trim().parse().ok().filter(|it: &f64| it.is_finite()),
    }
}

impl Part {
    /// A test of an ISO 8601 time's text: our conditions know times only as texts.
    fn leaf(self, field: String, value: &Value, kind: &Kind) -> Result<Expr, String> {
        let wanted = number(value).ok_or("a part of a time is compared with a number")?;
        let (lowest, highest) = match self {
            Part::Minute => (0, 59),
            Part::Hour => (0, 23),
            Part::Day => (1, 31),
            Part::Month => (1, 12),
            Part::Year => (1970, 2199),
        };
        let fits = |it: &i64| {
            let it = *it as f64;
            match kind {
                Kind::Compare(Order::Lt) => it < wanted,
                Kind::Compare(Order::Le) => it <= wanted,
                Kind::Compare(Order::Gt) => it > wanted,
                Kind::Compare(Order::Ge) => it >= wanted,
                _ => it == wanted,
            }
        };
        let wide = if self == Part::Year { 4 } else { 2 };
        let numbers: Vec<String> = (lowest..=highest).filter(fits).map(|it: i64| format!("{it:0wide$}")).collect();
        if numbers.is_empty() {
            return Err("no time has such a part".into());
        }
        let numbers = numbers.join("|");
        let pattern = match self {
            Part::Year => format!(r"^(?:{numbers})-\d\d-\d\d"),
            Part::Month => format!(r"^\d{{4}}-(?:{numbers})-\d\d"),
            Part::Day => format!(r"^\d{{4}}-\d\d-(?:{numbers})"),
            Part::Hour => format!(r"^\d{{4}}-\d\d-\d\d[Tt ](?:{numbers}):"),
            Part::Minute => format!(r"^\d{{4}}-\d\d-\d\d[Tt ]\d\d:(?:{numbers})"),
        };
        Ok(Expr::Matches(field, Pattern(pattern)))
    }
}

/// At least one of them; one alone is itself.
pub fn any(parts: impl IntoIterator<Item = Expr>) -> Expr {
    any_of(parts.into_iter().collect())
}

/// The same, with equality tests of one field as one test.
fn any_of(parts: Vec<Expr>) -> Expr {
    let mut out: Vec<Expr> = Vec::new();
    for part in parts {
        let (folded, inner) = match part {
            Expr::NoCase(inner) => (true, *inner),
            it => (false, it),
        };
        let merged = out.iter_mut().any(|it| match it {
            Expr::NoCase(it) if folded => merge(it, &inner),
            Expr::NoCase(_) => false,
            it => !folded && merge(it, &inner),
        });
        if !merged {
            out.push(if folded { no_case(inner) } else { inner });
        }
    }
    Expr::Any(out).flat()
}

/// Takes an equality test or network into an earlier one of the same field.
fn merge(into: &mut Expr, it: &Expr) -> bool {
    match (&mut *into, it) {
        (Expr::Cidr(a, networks), Expr::Cidr(b, more)) if a == b => {
            networks.0.extend(more.0.iter().cloned());
            true
        }
        (Expr::OneOf(a, values), Expr::Eq(b, value)) if a == b => {
            values.push(value.clone());
            true
        }
        (Expr::Eq(a, first), Expr::Eq(b, value)) if a == b => {
            *into = Expr::OneOf(b.clone(), vec![first.clone(), value.clone()]);
            true
        }
        _ => false,
    }
}

/// Conditions as a person would write them.
pub trait Tidy {
    /// Without lists of one and lists inside lists of the same kind.
    fn flat(self) -> Expr;
    /// With `NoCase` around as much as may stand inside it.
    fn hoisted(self) -> Expr;
}

impl Tidy for Expr {
    fn flat(self) -> Expr {
        fn spread(parts: Vec<Expr>, same: fn(Expr) -> Result<Vec<Expr>, Expr>) -> Vec<Expr> {
            let parts = parts.into_iter().map(Expr::flat);
            parts.flat_map(|it| same(it).unwrap_or_else(|it| vec![it])).collect()
        }
        match self {
            Expr::All(parts) => {
                let mut parts = spread(parts, |it| if let Expr::All(it) = it { Ok(it) } else { Err(it) });
                if parts.len() == 1 { parts.remove(0) } else { Expr::All(parts) }
            }
            Expr::Any(parts) => {
                let mut parts = spread(parts, |it| match it {
                    Expr::Any(it) if !it.is_empty() => Ok(it),
                    it => Err(it),
                });
                if parts.len() == 1 { parts.remove(0) } else { Expr::Any(parts) }
            }
            Expr::Not(part) => match part.flat() {
                Expr::Not(inner) => *inner,
                it => Expr::Not(Box::new(it)),
            },
            Expr::NoCase(part) => no_case(part.flat()),
            leaf => leaf,
        }
    }

    fn hoisted(self) -> Expr {
        match hoist(self) {
            Hoisted::Folded(it) => no_case(it),
            Hoisted::Either(it) | Hoisted::Kept(it) => it,
        }
    }
}

/// How an expression minds standing inside `NoCase`.
enum Hoisted {
    /// It must; given without its own.
    Folded(Expr),
    /// It means the same there.
    Either(Expr),
    /// It must not.
    Kept(Expr),
}

fn hoist(expr: Expr) -> Hoisted {
    match expr {
        Expr::NoCase(it) => Hoisted::Folded(*it),
        Expr::Not(it) => match hoist(*it) {
            Hoisted::Folded(it) => Hoisted::Folded(Expr::Not(Box::new(it))),
            Hoisted::Either(it) => Hoisted::Either(Expr::Not(Box::new(it))),
            Hoisted::Kept(it) => Hoisted::Kept(Expr::Not(Box::new(it))),
        },
        Expr::All(parts) => hoist_all(parts, Expr::All),
        Expr::Any(parts) => hoist_all(parts, Expr::Any),
        Expr::Exists(_) | Expr::Cidr(..) | Expr::Lt(..) | Expr::Le(..) | Expr::Gt(..) | Expr::Ge(..) => {
            Hoisted::Either(expr)
        }
        Expr::Eq(_, Literal::Int(_) | Literal::Float(_)) => Hoisted::Either(expr),
        Expr::OneOf(_, ref values) if values.iter().all(|it| matches!(it, Literal::Int(_) | Literal::Float(_))) => {
            Hoisted::Either(expr)
        }
        leaf => Hoisted::Kept(leaf),
    }
}

fn hoist_all(parts: Vec<Expr>, list: fn(Vec<Expr>) -> Expr) -> Hoisted {
    let parts: Vec<Hoisted> = parts.into_iter().map(hoist).collect();
    let keeps = parts.iter().any(|it| matches!(it, Hoisted::Kept(_)));
    let folds = parts.iter().any(|it| matches!(it, Hoisted::Folded(_)));
    let inner = parts
        .into_iter()
        .map(|it| match it {
            Hoisted::Folded(it) if keeps => no_case(it),
            Hoisted::Folded(it) | Hoisted::Either(it) | Hoisted::Kept(it) => it,
        })
        .collect();
    match (keeps, folds) {
        (true, _) => Hoisted::Kept(list(inner)),
        (false, true) => Hoisted::Folded(list(inner)),
        (false, false) => Hoisted::Either(list(inner)),
    }
}
