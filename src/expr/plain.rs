//! What an expression means: the plain interpreter.
//!
//! Schemas ask it which record they see, and the rule matcher, which answers for thousands of rules at once, is tested
//! against it. So this file decides every question of meaning, and is written to be read:
//!
//! - A field is a list of items: a single value is one item, lists and JSON arrays have one an element, JSON objects and
//!   null have none. A leaf holds when it holds for one item; so an absent field satisfies no leaf, and `Not` of a leaf holds.
//! - Text leaves see numbers as written and truth values as `true` and `false`.
//! - A number in the rule compares by value, also with text that holds a number: `Eq("code", 5)` takes `5`, `5.0`, `"5"`.
//! - `NoCase` compares after Unicode case folding ([`fold`]); regular expressions become case-insensitive.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::list::List;
use super::pattern::Late;
use super::{Expr, Literal, parse_network};
use crate::model::path::Steps;
use crate::model::{Event, FieldId, Value, address, json};

/// Where an expression's name is found: a field, and what to do in its value (nothing, for most).
#[derive(Clone, PartialEq, Debug)]
pub struct Operand {
    pub field: FieldId,
    pub steps: Steps,
}

/// An expression with its names looked up.
#[derive(Clone, Debug)]
pub struct Plain(Node);

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// Shared, for what is left of an expression is remembered for each shape of record.
    Leaf(Operand, Arc<Test>),
    Exists(Operand),
    SameAs(Operand, Operand, Case),
}

/// What one item must satisfy.
#[derive(Clone, Debug)]
enum Test {
    OneOf(OneOf),
    Contains(String, Case),
    StartsWith(String, Case),
    EndsWith(String, Case),
    Glob(Vec<char>, Case),
    Matches(Late),
    Cidr(Vec<(IpAddr, u8)>),
    Lt(f64),
    Le(f64),
    Gt(f64),
    Ge(f64),
    InList(Arc<List>, Case),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    Kept,
    /// The rule's side is folded when compiled.
    Folded,
}

impl Plain {
    /// Looks up names and lists; the error says which list is not known or which regular expression is too large.
    pub fn compile(
        expr: &Expr,
        resolve: &mut dyn FnMut(&str) -> Result<Operand, String>,
        lists: &dyn Fn(&str) -> Option<Arc<List>>,
    ) -> Result<Plain, String> {
        Compile { resolve, lists }.node(expr, Case::Kept).map(Plain)
    }

    /// Whether the event satisfies the expression.
    pub fn holds(&self, event: Event) -> bool {
        self.0.holds(event)
    }

    /// Calls `each` with the fields whose values it depends on.
    pub fn fields(&self, each: &mut dyn FnMut(FieldId)) {
        self.0.fields(each);
    }

    /// What is left to ask of an event of which it is known what fields it has.
    pub fn given(&self, known: &Known) -> Given {
        match self.0.given(known) {
            Left::Never => Given::Never,
            Left::Always => Given::Always,
            Left::Ask(node) => Given::Ask(Plain(node)),
        }
    }
}

/// What is known of an event before its values are looked at.
pub struct Known<'a> {
    pub has: &'a dyn Fn(FieldId) -> bool,
    /// One of the fields that it has may be null.
    pub nulls: bool,
}

/// What an expression comes to where it is known what fields an event has.
#[derive(Clone, Debug)]
pub enum Given {
    Never,
    Always,
    /// It depends on values, and this says how.
    Ask(Plain),
}

impl Given {
    #[inline]
    pub fn holds(&self, event: Event) -> bool {
        match self {
            Given::Never => false,
            Given::Always => true,
            Given::Ask(plain) => plain.holds(event),
        }
    }
}

struct Compile<'a> {
    resolve: &'a mut dyn FnMut(&str) -> Result<Operand, String>,
    lists: &'a dyn Fn(&str) -> Option<Arc<List>>,
}

impl Compile<'_> {
    fn node(&mut self, expr: &Expr, case: Case) -> Result<Node, String> {
        let text = |it: &String| match case {
            Case::Kept => it.clone(),
            Case::Folded => fold(it).into_owned(),
        };
        let (field, test) = match expr {
            Expr::All(parts) => return Ok(Node::All(self.nodes(parts, case)?)),
            Expr::Any(parts) => return Ok(Node::Any(self.nodes(parts, case)?)),
            Expr::Not(part) => return Ok(Node::Not(Box::new(self.node(part, case)?))),
            Expr::NoCase(part) => return self.node(part, Case::Folded),
            Expr::Exists(field) => return Ok(Node::Exists((self.resolve)(field)?)),
            Expr::SameAs(left, right) => {
                return Ok(Node::SameAs((self.resolve)(left)?, (self.resolve)(right)?, case));
            }
            Expr::Eq(field, value) => (field, Test::OneOf(OneOf::new(std::slice::from_ref(value), case))),
            Expr::OneOf(field, values) => (field, Test::OneOf(OneOf::new(values, case))),
            Expr::Contains(field, part) => (field, Test::Contains(text(part), case)),
            Expr::StartsWith(field, part) => (field, Test::StartsWith(text(part), case)),
            Expr::EndsWith(field, part) => (field, Test::EndsWith(text(part), case)),
            Expr::Glob(field, pattern) => (field, Test::Glob(text(pattern).chars().collect(), case)),
            Expr::Matches(field, pattern) => {
                let regex = match case {
                    Case::Kept => Late::new(&pattern.0)?,
                    Case::Folded => Late::without_case(&pattern.0)?,
                };
                (field, Test::Matches(regex))
            }
            Expr::Cidr(field, networks) => {
                (field, Test::Cidr(networks.0.iter().filter_map(|it| parse_network(it)).collect()))
            }
            Expr::Lt(field, number) => (field, Test::Lt(*number)),
            Expr::Le(field, number) => (field, Test::Le(*number)),
            Expr::Gt(field, number) => (field, Test::Gt(*number)),
            Expr::Ge(field, number) => (field, Test::Ge(*number)),
            Expr::InList(field, name) => {
                let list = (self.lists)(name).ok_or_else(|| format!("there is no list `{name}`"))?;
                (field, Test::InList(list, case))
            }
        };
        Ok(Node::Leaf((self.resolve)(field)?, Arc::new(test)))
    }

    fn nodes(&mut self, parts: &[Expr], case: Case) -> Result<Vec<Node>, String> {
        parts.iter().map(|it| self.node(it, case)).collect()
    }
}

/// Values of which an item must be one.
#[derive(Clone, Debug)]
struct OneOf {
    /// Folded, where the case is.
    texts: Vec<String>,
    lens: Lengths,
    /// What is compared by value.
    others: Vec<Literal>,
    case: Case,
}

impl OneOf {
    fn new(values: &[Literal], case: Case) -> OneOf {
        let mut found = OneOf { texts: Vec::new(), lens: Lengths::default(), others: Vec::new(), case };
        for value in values {
            match (value, case) {
                (Literal::Text(it), Case::Kept) => found.texts.push(it.clone()),
                (Literal::Text(it), Case::Folded) => found.texts.push(fold(it).into_owned()),
                (Literal::Int(_) | Literal::Float(_) | Literal::Bool(_), _) => found.others.push(value.clone()),
            }
        }
        found.lens = Lengths::of(found.texts.iter().map(String::len));
        found
    }

    fn holds(&self, item: Item) -> bool {
        let text = item.text();
        let found = match self.case {
            Case::Kept => self.lens.has(text.len()) && self.texts.iter().any(|it| it == text),
            Case::Folded if text.is_ascii() => {
                self.lens.has(text.len()) && self.texts.iter().any(|it| it.eq_ignore_ascii_case(text))
            }
            Case::Folded => {
                let text = fold(text);
                self.texts.iter().any(|it| **it == *text)
            }
        };
        found || self.others.iter().any(|it| equals(item, it, self.case))
    }
}

/// Which lengths occur among some texts: most texts are told from all of them by that.
#[derive(Clone, Copy, Default, Debug)]
pub struct Lengths(u64);

impl Lengths {
    pub fn of(lens: impl Iterator<Item = usize>) -> Lengths {
        Lengths(lens.fold(0, |bits, it| bits | 1 << it.min(63)))
    }

    #[inline]
    pub fn has(self, len: usize) -> bool {
        self.0 >> len.min(63) & 1 != 0
    }
}

/// [`Given`], of a part.
enum Left {
    Never,
    Always,
    Ask(Node),
}

impl Node {
    fn fields(&self, each: &mut dyn FnMut(FieldId)) {
        match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|it| it.fields(each)),
            Node::Not(part) => part.fields(each),
            Node::Leaf(operand, _) | Node::Exists(operand) => each(operand.field),
            Node::SameAs(left, right, _) => [left, right].into_iter().for_each(|it| each(it.field)),
        }
    }

    fn holds(&self, event: Event) -> bool {
        match self {
            Node::All(parts) => parts.iter().all(|it| it.holds(event)),
            Node::Any(parts) => parts.iter().any(|it| it.holds(event)),
            Node::Not(part) => !part.holds(event),
            Node::Leaf(operand, test) => match event.get(operand.field) {
                None => false,
                Some(Value::Text(it)) if operand.steps.is_empty() => test.holds(Item::Text(it)),
                Some(_) => operand.any(event, &mut |it| test.holds(it)),
            },
            Node::Exists(operand) => operand.exists(event),
            Node::SameAs(left, right, Case::Kept) => left.same_as(right, event, |it| Cow::Borrowed(it)),
            Node::SameAs(left, right, Case::Folded) => left.same_as(right, event, fold),
        }
    }

    fn given(&self, known: &Known) -> Left {
        let asked = |it: &Operand| if (known.has)(it.field) { Left::Ask(self.clone()) } else { Left::Never };
        match self {
            Node::All(parts) => {
                let mut left = Vec::new();
                for part in parts {
                    match part.given(known) {
                        Left::Never => return Left::Never,
                        Left::Always => {}
                        Left::Ask(it) => left.push(it),
                    }
                }
                if left.is_empty() { Left::Always } else { Left::Ask(one_or(left, Node::All)) }
            }
            Node::Any(parts) => {
                let mut left = Vec::new();
                for part in parts {
                    match part.given(known) {
                        Left::Never => {}
                        Left::Always => return Left::Always,
                        Left::Ask(it) => left.push(it),
                    }
                }
                if left.is_empty() { Left::Never } else { Left::Ask(one_or(left, Node::Any)) }
            }
            Node::Not(part) => match part.given(known) {
                Left::Never => Left::Always,
                Left::Always => Left::Never,
                Left::Ask(it) => Left::Ask(Node::Not(Box::new(it))),
            },
            Node::Exists(operand) if operand.steps.is_empty() && !known.nulls && (known.has)(operand.field) => {
                Left::Always
            }
            Node::Leaf(operand, _) | Node::Exists(operand) => asked(operand),
            Node::SameAs(_, right, _) if !(known.has)(right.field) => Left::Never,
            Node::SameAs(left, _, _) => asked(left),
        }
    }
}

fn one_or(mut parts: Vec<Node>, make: impl FnOnce(Vec<Node>) -> Node) -> Node {
    if parts.len() == 1 { parts.swap_remove(0) } else { make(parts) }
}

/// One value of a field.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Item<'a> {
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
}

impl<'a> Item<'a> {
    pub fn text(self) -> &'a str {
        match self {
            Item::Text(it) | Item::Number(it) => it,
            Item::Bool(true) => "true",
            Item::Bool(false) => "false",
        }
    }

    fn number(self) -> Option<f64> {
        match self {
            Item::Text(it) | Item::Number(it) => it.trim().parse().ok().filter(|it: &f64| it.is_finite()),
            Item::Bool(_) => None,
        }
    }
}

impl Operand {
    pub fn plain(field: FieldId) -> Operand {
        Operand { field, steps: Steps::default() }
    }

    /// Whether one of the field's items satisfies the test.
    pub fn any(&self, event: Event, test: &mut dyn FnMut(Item) -> bool) -> bool {
        let Some(value) = event.get(self.field) else { return false };
        match value {
            Value::Json(raw) => self.steps.any(raw, &mut |it| any_in_json(it, test)),
            _ if !self.steps.is_empty() => false,
            Value::Text(it) => test(Item::Text(it)),
            Value::Number(it) => test(Item::Number(it)),
            Value::Bool(it) => test(Item::Bool(it)),
            Value::List(list) => list.iter().any(|it| test(Item::Text(it))),
            Value::Null => false,
        }
    }

    /// Whether both say the same, as `seen` sees texts: two lists hold the same values, in any order; otherwise one value of
    /// each is the same. One shared value of two lists is not enough: they are compared to learn whether anything changed.
    pub fn same_as(&self, other: &Operand, event: Event, seen: fn(&str) -> Cow<str>) -> bool {
        if let (Some(one), Some(two)) = (self.list(event, seen), other.list(event, seen)) {
            return one == two;
        }
        self.any(event, &mut |one| other.any(event, &mut |two| seen(one.text()) == seen(two.text())))
    }

    /// The values of a list; None where there is a single value or none.
    fn list(&self, event: Event, seen: fn(&str) -> Cow<str>) -> Option<BTreeSet<String>> {
        let is_list = match event.get(self.field)? {
            Value::Json(raw) => self.steps.finds_many() || self.steps.first(raw).is_some_and(|it| it.starts_with('[')),
            Value::List(_) => self.steps.is_empty(),
            Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Null => false,
        };
        is_list.then(|| {
            let mut values = BTreeSet::new();
            self.any(event, &mut |it| {
                values.insert(seen(it.text()).into_owned());
                false
            });
            values
        })
    }

    fn exists(&self, event: Event) -> bool {
        match event.get(self.field) {
            None | Some(Value::Null) => false,
            Some(Value::Json(raw)) => self.steps.any(raw, &mut |it| it != "null"),
            Some(_) => self.steps.is_empty(),
        }
    }
}

fn any_in_json(raw: &str, test: &mut dyn FnMut(Item) -> bool) -> bool {
    match raw.as_bytes().first() {
        Some(b'[') => json::elements(raw).any(|it| item_of_json(it, test)),
        _ => item_of_json(raw, test),
    }
}

fn item_of_json(raw: &str, test: &mut dyn FnMut(Item) -> bool) -> bool {
    match raw.as_bytes().first() {
        Some(b'"') => json::scalar(raw).is_some_and(|it| test(Item::Text(&it))),
        Some(b't') => test(Item::Bool(true)),
        Some(b'f') => test(Item::Bool(false)),
        Some(b'-' | b'0'..=b'9') => test(Item::Number(raw)),
        _ => false,
    }
}

impl Test {
    fn holds(&self, item: Item) -> bool {
        match self {
            Test::OneOf(values) => values.holds(item),
            Test::Contains(part, case) => seen(item, *case).contains(part.as_str()),
            Test::StartsWith(part, case) => seen(item, *case).starts_with(part.as_str()),
            Test::EndsWith(part, case) => seen(item, *case).ends_with(part.as_str()),
            Test::Glob(pattern, case) => glob(pattern, &seen(item, *case)),
            Test::Matches(regex) => regex.is_match(item.text()),
            Test::Cidr(networks) => {
                address::parse(item.text()).is_some_and(|it| networks.iter().any(|net| in_network(it, *net)))
            }
            Test::Lt(number) => item.number().is_some_and(|it| it < *number),
            Test::Le(number) => item.number().is_some_and(|it| it <= *number),
            Test::Gt(number) => item.number().is_some_and(|it| it > *number),
            Test::Ge(number) => item.number().is_some_and(|it| it >= *number),
            Test::InList(list, Case::Kept) => list.has(item.text()),
            Test::InList(list, Case::Folded) => list.has_folded(item.text()),
        }
    }
}

fn seen(item: Item<'_>, case: Case) -> Cow<'_, str> {
    match case {
        Case::Kept => Cow::Borrowed(item.text()),
        Case::Folded => fold(item.text()),
    }
}

fn equals(item: Item, value: &Literal, case: Case) -> bool {
    match value {
        Literal::Text(text) => match case {
            Case::Kept => item.text() == text,
            Case::Folded => fold(item.text()) == text.as_str(),
        },
        // Numbers beyond 2^53 are not all floats; where both sides are whole, they compare as such.
        Literal::Int(number) => match item.text().trim().parse::<i64>() {
            Ok(it) => it == *number,
            Err(_) => item.number() == Some(*number as f64),
        },
        Literal::Float(number) => item.number() == Some(*number),
        Literal::Bool(truth) => seen(item, case) == if *truth { "true" } else { "false" },
    }
}

/// The text as `NoCase` compares it: full Unicode case folding. Borrowed when it is folded already.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|it| it.is_ascii() && !it.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Owned(caseless::default_case_fold_str(text))
}

/// Whether the address lies in the network. IPv4 and IPv6 never meet: mapped addresses were made IPv4 when they were read.
pub fn in_network(address: IpAddr, (network, prefix): (IpAddr, u8)) -> bool {
    match (address, network) {
        (IpAddr::V4(it), IpAddr::V4(network)) => {
            let differ = it.to_bits() ^ network.to_bits();
            prefix == 0 || differ >> (32 - prefix) == 0
        }
        (IpAddr::V6(it), IpAddr::V6(network)) => {
            let differ = it.to_bits() ^ network.to_bits();
            prefix == 0 || differ >> (128 - prefix) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether the whole text fits: `*` any text, `?` one character, `\` takes the next literally (at the end, itself).
/// On a mismatch only the last `*` is widened, so the time is at most length times length.
fn glob(pattern: &[char], text: &str) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut star: Option<(usize, std::str::Chars)> = None;
    loop {
        let before = rest.clone();
        let next = rest.next();
        let fits = match (pattern.get(at), next) {
            (None, None) => return true,
            (Some('*'), _) => {
                at += 1;
                rest = before.clone();
                star = Some((at, before));
                continue;
            }
            (Some('?'), Some(_)) => Some(1),
            (Some('\\'), Some(it)) => match pattern.get(at + 1) {
                Some(literal) => (*literal == it).then_some(2),
                None => (it == '\\').then_some(1),
            },
            (Some(literal), Some(it)) => (*literal == it).then_some(1),
            (None, Some(_)) | (Some(_), None) => None,
        };
        match (fits, &mut star) {
            (Some(len), _) => at += len,
            (None, Some((after, from))) => {
                if from.next().is_none() {
                    return false;
                }
                at = *after;
                rest = from.clone();
            }
            (None, None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::Path;
    use crate::model::{EventBuf, Fields, Place, Slot};

    const RECORD: &str = r#"Ann ÉCLAIR 42 4.2e1 10.1.2.3:443 ["x","Y\n",7,null,true,{"k":1}] [{"k":"a"},{"k":"b"}] ß ["editor","admin","admin"] ["admin","editor","x"]"#;

    /// Compares what `expr` (RON) says of one made-up event; the fields' values are the words of [`RECORD`].
    fn check(expr: &str, expected: bool) {
        let mut fields = Fields::default();
        let place = |text: &str| (Place::Record, RECORD.find(text).unwrap(), text.len());
        let slots = [
            ("name", place("Ann"), Slot::text as fn(Place, usize, usize) -> Slot),
            ("cake", place("ÉCLAIR"), Slot::text),
            ("number", place("42"), Slot::number),
            ("float", place("4.2e1"), Slot::number),
            ("digits", place("42"), Slot::text),
            ("from", place("10.1.2.3:443"), Slot::text),
            ("mixed", place(r#"["x","Y\n",7,null,true,{"k":1}]"#), Slot::json),
            ("objects", place(r#"[{"k":"a"},{"k":"b"}]"#), Slot::json),
            ("sharp", place("ß"), Slot::text),
            ("turned", place(r#"["editor","admin","admin"]"#), Slot::json),
            ("longer", place(r#"["admin","editor","x"]"#), Slot::json),
        ];
        let ids: Vec<_> = slots.iter().map(|it| fields.path(it.0)).collect();
        let (null, yes, list) = (fields.path("null"), fields.path("yes"), fields.path("list"));
        let mut resolve = |name: &str| {
            let path = Path::parse(name)?;
            Ok(Operand { field: fields.path(&path.root), steps: path.steps })
        };
        let lists = |name: &str| (name == "known").then(|| Arc::new(List::parse("Ann\n10.0.0.0/8\n")));
        let expr: Expr = ron::from_str(expr).unwrap();
        let plain = Plain::compile(&expr, &mut resolve, &lists).unwrap();
        let mut buf = EventBuf::new(fields.len(), "".into());
        for (id, (_, (place, start, len), make)) in ids.iter().zip(slots) {
            buf.set(*id, make(place, start, len));
        }
        buf.set(null, Slot::null());
        buf.set(yes, Slot::bool(true));
        buf.scratch.push_str("admin\u{1f}editor");
        buf.set(list, Slot::list(Place::Scratch, 0, buf.scratch.len()));
        let event = Event { record: RECORD, buf: &buf };
        assert_eq!(plain.holds(event), expected, "{expr:?}");
        let given = plain.given(&Known { has: &|it| buf.has(it), nulls: true });
        assert_eq!(given.holds(event), expected, "given what is there: {expr:?}");
    }

    #[test]
    fn leaves() {
        for (expr, expected) in [
            (r#"Eq("name", "Ann")"#, true),
            (r#"Eq("name", "ann")"#, false),
            (r#"NoCase(Eq("name", "aNN"))"#, true),
            (r#"NoCase(Eq("cake", "éclair"))"#, true),
            (r#"NoCase(Eq("sharp", "SS"))"#, true),
            (r#"Eq("number", 42)"#, true),
            (r#"Eq("number", "42")"#, true),
            (r#"Eq("number", 42.0)"#, true),
            (r#"Eq("float", 42)"#, true),
            (r#"Eq("digits", 42)"#, true),
            (r#"Eq("digits", 43)"#, false),
            (r#"Eq("yes", true)"#, true),
            (r#"Eq("yes", "true")"#, true),
            (r#"Eq("yes", false)"#, false),
            (r#"Eq("yes", 1)"#, false),
            (r#"OneOf("name", ["Bob", "Ann"])"#, true),
            (r#"OneOf("name", [])"#, false),
            (r#"Contains("cake", "CLA")"#, true),
            (r#"NoCase(Contains("cake", "ÉcLa"))"#, true),
            (r#"StartsWith("name", "An")"#, true),
            (r#"EndsWith("name", "nn")"#, true),
            (r#"EndsWith("name", "n ")"#, false),
            (r#"Glob("name", "A?n")"#, true),
            (r#"Glob("name", "*n*n*")"#, true),
            (r#"Glob("name", "A*N")"#, false),
            (r#"NoCase(Glob("cake", "é*R"))"#, true),
            (r#"Glob("cake", "?CL*R")"#, true),
            (r#"Matches("cake", "^.CL")"#, true),
            (r#"NoCase(Matches("name", "^ANN$"))"#, true),
            (r#"Cidr("from", "10.0.0.0/8")"#, true),
            (r#"Cidr("from", ["192.0.2.0/24", "10.1.2.3"])"#, true),
            (r#"Cidr("from", "::/0")"#, false),
            (r#"Cidr("name", "0.0.0.0/0")"#, false),
            (r#"Lt("number", 43)"#, true),
            (r#"Le("digits", 42)"#, true),
            (r#"Gt("float", 42)"#, false),
            (r#"Ge("float", 42)"#, true),
            (r#"Ge("name", 0)"#, false),
            (r#"SameAs("number", "digits")"#, true),
            (r#"SameAs("number", "float")"#, false),
            (r#"SameAs("none", "none")"#, false),
            (r#"InList("name", "known")"#, true),
            (r#"InList("from", "known")"#, true),
            (r#"InList("cake", "known")"#, false),
        ] {
            check(expr, expected);
        }
    }

    #[test]
    fn many_values_absence_and_null() {
        for (expr, expected) in [
            (r#"Eq("list", "editor")"#, true),
            (r#"Eq("list", "admin\u{1f}editor")"#, false),
            (r#"Eq("mixed", "x")"#, true),
            (r#"Eq("mixed", "Y\n")"#, true),
            (r#"Eq("mixed", 7)"#, true),
            (r#"Eq("mixed", true)"#, true),
            (r#"Eq("mixed", "null")"#, false),
            (r#"Eq("mixed", 1)"#, false),
            (r#"Eq("mixed[0]", "x")"#, true),
            (r#"Eq("mixed[1]", "x")"#, false),
            (r#"Eq("objects[].k", "b")"#, true),
            (r#"Eq("objects[k=a].k", "b")"#, false),
            (r#"Eq("objects", "a")"#, false),
            (r#"Exists("objects[1].k")"#, true),
            (r#"Exists("objects[2].k")"#, false),
            (r#"Exists("mixed[3]")"#, false),
            (r#"Exists("name[0]")"#, false),
            (r#"Exists("null")"#, false),
            (r#"Exists("none")"#, false),
            (r#"Exists("yes")"#, true),
            (r#"Not(Eq("none", "x"))"#, true),
            (r#"Not(Eq("null", "x"))"#, true),
            (r#"Eq("none", "")"#, false),
            (r#"SameAs("list", "turned")"#, true),
            (r#"SameAs("turned", "longer")"#, false),
            (r#"SameAs("longer", "list")"#, false),
            (r#"SameAs("longer[0]", "list")"#, true),
            (r#"SameAs("objects[].k", "objects[].k")"#, true),
            (r#"SameAs("list", "none")"#, false),
            (r#"All([])"#, true),
            (r#"Any([])"#, false),
            (r#"NoCase(Not(All([Eq("name", "ANN"), Any([Eq("none", 1), Eq("number", 42)])])))"#, false),
        ] {
            check(expr, expected);
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a**b", "ab", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"a\", r"a\", true),
            ("*é?", "éé€", true),
            ("*ab*ac", "abaabac", true),
            ("*a*a*a*a*a*a*a*ab", &"a".repeat(300), false),
        ] {
            assert_eq!(glob(&pattern.chars().collect::<Vec<_>>(), text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_unknown_list_is_refused() {
        let expr = Expr::InList("a".into(), "nobody".into());
        let mut resolve = |_: &str| Ok(Operand::plain(FieldId(0)));
        let error = Plain::compile(&expr, &mut resolve, &|_| None).unwrap_err();
        assert_eq!(error, "there is no list `nobody`");
    }
}
