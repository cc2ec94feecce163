//! All indexed tests of one field.

use crate::expr::network::Networks;
use crate::expr::plain::{Item, Operand};
use crate::model::{Event, Value, address};

use super::fold::fold_into;
use super::gram::{Alphabet, Needle, Needles};
use super::leaf::{Case, Leaf, Number, Test};
use super::number::Numbers;
use super::text::{Texts, Wanted};

/// What an index can say of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Found means it holds, not found that it does not.
    Exact,
    /// Found means that it may hold, not found that it does not.
    Filter,
    /// Nothing: the leaf must be asked.
    Unknown,
}

#[derive(Debug)]
pub struct FieldTests {
    pub operand: Operand,
    kept: Option<Texts>,
    folded: Option<Texts>,
    inside: Option<Needles>,
    /// Whether some test compares without case.
    folds: bool,
    /// Whether some test needs the folded text even of an ASCII value.
    folds_ascii: bool,
    numbers: Option<Numbers>,
    networks: Option<Networks<u32>>,
    /// Witnesses that no index answers: asked whenever the field is there.
    pub asked: Box<[u32]>,
}

/// [`FieldTests`] while rules are compiled.
#[derive(Debug)]
pub struct FieldBuilder {
    operand: Operand,
    kept: Wanted,
    folded: Wanted,
    inside: Vec<(Needle, u32)>,
    numbers: Numbers,
    networks: Networks<u32>,
    asked: Vec<u32>,
}

impl FieldBuilder {
    pub fn new(operand: Operand) -> FieldBuilder {
        FieldBuilder {
            operand,
            kept: Wanted::default(),
            folded: Wanted::default(),
            inside: Vec::new(),
            numbers: Numbers::default(),
            networks: Networks::default(),
            asked: Vec::new(),
        }
    }

    fn wanted(&mut self, case: Case) -> &mut Wanted {
        match case {
            Case::Kept => &mut self.kept,
            Case::Folded => &mut self.folded,
        }
    }

    fn search(&mut self, text: Vec<u8>, case: Case, number: u32) {
        self.inside.push((Needle { text, folded: case == Case::Folded }, number));
    }

    /// Takes a leaf into the index, where one can answer it.
    pub fn index(&mut self, number: u32, leaf: &Leaf) -> Answer {
        match &leaf.test {
            Test::OneOf(values, case) => {
                self.wanted(*case).equal.extend(values.texts.iter().map(|it| (it.clone(), number)));
                values.ints.iter().for_each(|it| self.numbers.add_int(*it, number));
                values.floats.iter().for_each(|it| self.numbers.add_float(*it, number));
            }
            // What holds for every text needs no search.
            Test::Contains(part, _) if part.needle().is_empty() => return Answer::Unknown,
            Test::StartsWith(part, _) | Test::EndsWith(part, _) if part.is_empty() => return Answer::Unknown,
            Test::Contains(part, case) => self.search(part.needle().to_vec(), *case, number),
            Test::StartsWith(part, case) => self.wanted(*case).starts.push((part.as_bytes().to_vec(), number)),
            Test::EndsWith(part, case) => self.wanted(*case).ends.push((part.as_bytes().to_vec(), number)),
            Test::Glob(glob, case) => {
                let literal = glob.longest_literal();
                if literal.is_empty() {
                    return Answer::Unknown;
                }
                self.search(literal.into_bytes(), *case, number);
                return Answer::Filter;
            }
            Test::Matches(regex) => {
                let Some(texts) = &regex.required else { return Answer::Unknown };
                texts.iter().for_each(|it| self.search(it.clone().into_bytes(), Case::Folded, number));
                return Answer::Filter;
            }
            Test::Cidr(networks) => networks.each(&mut |address, prefix| self.networks.insert(address, prefix, number)),
            Test::Bound(bound, value) => self.numbers.add_bound(*bound, *value, number),
            Test::Exists | Test::SameAs(..) | Test::InList(..) => return Answer::Unknown,
        }
        Answer::Exact
    }

    /// The leaf is asked on every line that has the field.
    pub fn ask(&mut self, number: u32) {
        self.asked.push(number);
    }

    /// None when nothing was taken in.
    pub fn build(mut self) -> Option<FieldTests> {
        self.numbers.sort();
        let folded = Texts::new(self.folded);
        let inside = Needles::new(self.inside);
        let tests = FieldTests {
            operand: self.operand,
            kept: Texts::new(self.kept),
            folds: folded.is_some() || inside.as_ref().is_some_and(Needles::any_folded),
            folds_ascii: folded.is_some() || inside.as_ref().is_some_and(Needles::needs_folded),
            folded,
            inside,
            numbers: (!self.numbers.is_empty()).then_some(self.numbers),
            networks: (!self.networks.is_empty()).then_some(self.networks),
            asked: self.asked.into(),
        };
        (tests.is_indexed() || !tests.asked.is_empty()).then_some(tests)
    }
}

impl FieldTests {
    fn is_indexed(&self) -> bool {
        let texts = self.kept.is_some() || self.folded.is_some() || self.inside.is_some();
        texts || self.numbers.is_some() || self.networks.is_some()
    }

    /// Calls `found` with every indexed leaf that one of the field's values satisfies, or may satisfy where the index is a
    /// filter; perhaps more than once. `buffer` is for folded text.
    pub fn scan(&self, event: Event, buffer: &mut String, found: &mut impl FnMut(u32)) {
        // Nearly every value is a text; the others, and lists, are what the operand is for.
        if self.operand.steps.is_empty()
            && let Some(Value::Text(text)) = event.get(self.operand.field)
        {
            return self.scan_item(Item::Text(text), buffer, found);
        }
        self.operand.any(event, &mut |item| {
            self.scan_item(item, buffer, found);
            false
        });
    }

    fn scan_item(&self, item: Item, buffer: &mut String, found: &mut impl FnMut(u32)) {
        let text = item.text();
        let alphabet = if self.folds && text.is_ascii() { Alphabet::Ascii } else { Alphabet::Unicode };
        if self.folds_ascii || self.folds && alphabet == Alphabet::Unicode {
            fold_into(text, buffer);
        }
        if let Some(kept) = &self.kept {
            kept.scan(text, found);
        }
        if let Some(folded) = &self.folded {
            folded.scan(buffer, found);
        }
        if let Some(inside) = &self.inside {
            inside.scan(text.as_bytes(), buffer.as_bytes(), alphabet, found);
        }
        if let Some(numbers) = &self.numbers
            && let Some(number) = Number::of(item)
        {
            numbers.scan(number, found);
        }
        if let Some(networks) = &self.networks
            && let Some(address) = address::parse(text)
        {
            networks.each_holding(address, &mut |it| found(*it));
        }
    }
}
