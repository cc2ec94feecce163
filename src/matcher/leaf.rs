//! One test of one field.
//!
//! Equal leaves of different rules are one leaf, so a line pays for a test once, however many rules ask.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use hashbrown::HashSet;
use memchr::memmem;

use super::fold::fold_into;
use super::glob::Glob;
use super::list::Lists;
use crate::expr::list::List;
use crate::expr::literal;
use crate::expr::network::Networks;
use crate::expr::plain::{Item, Operand, fold};
use crate::expr::{Expr, Literal, parse_network, pattern};
use crate::model::{Event, FieldId, Value, address};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    Kept,
    /// The rule's side is folded already.
    Folded,
}

#[derive(Debug)]
pub struct Leaf {
    pub operand: Operand,
    pub test: Test,
}

#[derive(Debug)]
pub enum Test {
    Exists,
    SameAs(Operand, Case),
    OneOf(Values, Case),
    Contains(memmem::Finder<'static>, Case),
    StartsWith(Box<str>, Case),
    EndsWith(Box<str>, Case),
    Glob(Glob, Case),
    Matches(LateRegex),
    Cidr(Networks<()>),
    Bound(Bound, f64),
    InList(Arc<List>, Case),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    Lt,
    Le,
    Gt,
    Ge,
}

/// What a value may equal.
#[derive(Default, Debug)]
pub struct Values {
    pub texts: HashSet<Box<str>>,
    pub ints: Vec<i64>,
    pub floats: Vec<f64>,
}

/// A regular expression that is built when a line first needs it.
#[derive(Debug)]
pub struct LateRegex {
    text: Box<str>,
    case: Case,
    /// Folded texts of which every match holds one.
    pub required: Option<Vec<String>>,
    built: OnceLock<Option<regex::Regex>>,
}

impl Leaf {
    /// The leaf of an expression; None for `All`, `Any`, `Not` and `NoCase`, which are no leaves.
    pub fn new(
        expr: &Expr,
        case: Case,
        resolve: &mut dyn FnMut(&str) -> Result<Operand, String>,
        lists: &Lists,
    ) -> Result<Option<Leaf>, String> {
        let cased = |it: &str| match case {
            Case::Kept => it.to_string(),
            Case::Folded => fold(it).into_owned(),
        };
        let (field, test) = match expr {
            Expr::All(_) | Expr::Any(_) | Expr::Not(_) | Expr::NoCase(_) => return Ok(None),
            Expr::Exists(field) => (field, Test::Exists),
            Expr::SameAs(left, right) => (left, Test::SameAs(resolve(right)?, case)),
            Expr::Eq(field, value) => (field, Test::OneOf(Values::new(std::slice::from_ref(value), &cased), case)),
            Expr::OneOf(field, values) => (field, Test::OneOf(Values::new(values, &cased), case)),
            Expr::Contains(field, part) => {
                (field, Test::Contains(memmem::Finder::new(&cased(part)).into_owned(), case))
            }
            Expr::StartsWith(field, part) => (field, Test::StartsWith(cased(part).into(), case)),
            Expr::EndsWith(field, part) => (field, Test::EndsWith(cased(part).into(), case)),
            Expr::Glob(field, glob) => (field, Test::Glob(Glob::new(&cased(glob)), case)),
            Expr::Matches(field, it) => (field, Test::Matches(LateRegex::new(&it.0, case)?)),
            Expr::Cidr(field, networks) => {
                let mut all = Networks::default();
                for (address, prefix) in networks.0.iter().filter_map(|it| parse_network(it)) {
                    all.insert(address, prefix, ());
                }
                (field, Test::Cidr(all))
            }
            Expr::Lt(field, number) => (field, Test::Bound(Bound::Lt, *number)),
            Expr::Le(field, number) => (field, Test::Bound(Bound::Le, *number)),
            Expr::Gt(field, number) => (field, Test::Bound(Bound::Gt, *number)),
            Expr::Ge(field, number) => (field, Test::Bound(Bound::Ge, *number)),
            Expr::InList(field, name) => {
                let list = lists.get(name).ok_or_else(|| format!("there is no list `{name}`"))?;
                (field, Test::InList(list, case))
            }
        };
        Ok(Some(Leaf { operand: resolve(field)?, test }))
    }

    /// The fields that it looks at.
    pub fn fields(&self) -> impl Iterator<Item = FieldId> {
        let other = match &self.test {
            Test::SameAs(other, _) => Some(other.field),
            _ => None,
        };
        [self.operand.field].into_iter().chain(other)
    }

    /// Whether the event satisfies it. `buffer` is for folded text.
    pub fn holds(&self, event: Event, buffer: &mut String) -> bool {
        match &self.test {
            Test::Exists => exists(&self.operand, event),
            Test::SameAs(other, Case::Kept) => self.operand.same_as(other, event, |it| Cow::Borrowed(it)),
            Test::SameAs(other, Case::Folded) => self.operand.same_as(other, event, fold),
            test => self.operand.any(event, &mut |it| test.holds(it, buffer)),
        }
    }
}

fn exists(operand: &Operand, event: Event) -> bool {
    match event.get(operand.field) {
        None | Some(Value::Null) => false,
        Some(Value::Json(raw)) => operand.steps.any(raw, &mut |it| it != "null"),
        Some(Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::List(_)) => operand.steps.is_empty(),
    }
}

impl Test {
    fn holds(&self, item: Item, buffer: &mut String) -> bool {
        match self {
            Test::Exists | Test::SameAs(..) => true,
            Test::OneOf(values, case) => values.has_text(seen(item, *case, buffer)) || values.has_number(item),
            Test::Contains(part, case) => part.find(seen(item, *case, buffer).as_bytes()).is_some(),
            Test::StartsWith(part, case) => seen(item, *case, buffer).starts_with(part.as_ref()),
            Test::EndsWith(part, case) => seen(item, *case, buffer).ends_with(part.as_ref()),
            Test::Glob(glob, case) => glob.matches(seen(item, *case, buffer)),
            Test::Matches(regex) => regex.is_match(item.text()),
            Test::Cidr(networks) => address::parse(item.text()).is_some_and(|it| networks.holds(it)),
            Test::Bound(bound, number) => Number::of(item).is_some_and(|it| bound.holds(it.float(), *number)),
            Test::InList(list, Case::Kept) => list.has(item.text()),
            Test::InList(list, Case::Folded) => list.has_folded(item.text()),
        }
    }
}

fn seen<'a>(item: Item<'a>, case: Case, buffer: &'a mut String) -> &'a str {
    match case {
        Case::Kept => item.text(),
        Case::Folded => {
            fold_into(item.text(), buffer);
            buffer
        }
    }
}

impl Bound {
    pub fn holds(self, value: f64, number: f64) -> bool {
        match self {
            Bound::Lt => value < number,
            Bound::Le => value <= number,
            Bound::Gt => value > number,
            Bound::Ge => value >= number,
        }
    }
}

impl Values {
    fn new(literals: &[Literal], cased: &dyn Fn(&str) -> String) -> Values {
        let mut values = Values::default();
        for literal in literals {
            match literal {
                Literal::Text(it) => _ = values.texts.insert(cased(it).into()),
                Literal::Bool(it) => _ = values.texts.insert(if *it { "true" } else { "false" }.into()),
                Literal::Int(it) => values.ints.push(*it),
                Literal::Float(it) => values.floats.push(*it),
            }
        }
        values
    }

    fn has_text(&self, text: &str) -> bool {
        !self.texts.is_empty() && self.texts.contains(text)
    }

    fn has_number(&self, item: Item) -> bool {
        if self.ints.is_empty() && self.floats.is_empty() {
            return false;
        }
        let Some(number) = Number::of(item) else { return false };
        let float = number.float();
        self.floats.contains(&float)
            || match number {
                Number::Int(it) => self.ints.contains(&it),
                Number::Float(_) => self.ints.iter().any(|it| *it as f64 == float),
            }
    }
}

/// A value as a number. Whole ones are kept whole, for beyond 2^53 not all of them are floats.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    #[inline]
    pub fn of(item: Item) -> Option<Number> {
        let text = match item {
            Item::Text(it) | Item::Number(it) => it,
            Item::Bool(_) => return None,
        };
        // Words make up most values: leave at the first byte. What may stand before a number is white space, of which
        // some is not ASCII.
        if !matches!(text.as_bytes().first()?, b'0'..=b'9' | b'+' | b'-' | b'.' | b'\t'..=b'\r' | b' ' | 0x80..) {
            return None;
        }
        let text = text.trim();
        if let Ok(it) = text.parse() {
            return Some(Number::Int(it));
        }
        text.parse().ok().filter(|it: &f64| it.is_finite()).map(Number::Float)
    }

    pub fn float(self) -> f64 {
        match self {
            Number::Int(it) => it as f64,
            Number::Float(it) => it,
        }
    }
}

impl LateRegex {
    fn new(text: &str, case: Case) -> Result<LateRegex, String> {
        let hir = match case {
            Case::Kept => pattern::read(text)?,
            Case::Folded => pattern::read_without_case(text)?,
        };
        let required = literal::required(&hir);
        Ok(LateRegex { text: text.into(), case, required, built: OnceLock::new() })
    }

    fn is_match(&self, text: &str) -> bool {
        // `pattern::read` took it, so it can be built.
        let built = self.built.get_or_init(|| pattern::build(&self.text, self.case == Case::Folded).ok());
        built.as_ref().is_some_and(|it| it.is_match(text))
    }
}
