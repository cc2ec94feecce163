//! Events to hits: which rules does this event satisfy?
//!
//! Trying every rule on every line costs the number of rules. But nearly every rule needs some rare text that the line does not
//! have. So each rule waits for its [witnesses](witness), all texts that rules wait for are looked up in a field's value at once
//! ([`text`], [`gram`]), and only a rule whose witness was found is looked at in full, each test of it asked once a
//! line at most, whichever rules share it. A line's cost is then that of reading its values, and hardly one of how many
//! rules there are.
//!
//! [`crate::expr::plain`] says what an expression means; this module must give the same answers, and its tests compare.

mod anchored;
mod edges;
mod field;
mod fold;
mod glob;
mod gram;
mod leaf;
mod list;
mod node;
mod number;
mod postings;
#[cfg(test)]
mod tests;
mod text;
mod witness;

use hashbrown::HashMap;

use self::field::{Answer, FieldBuilder, FieldTests};
use self::leaf::{Case, Leaf, Test};
use self::node::Node;
use self::postings::Postings;
use self::witness::Guess;
use crate::expr::Expr;
use crate::expr::plain::Operand;
use crate::limits;
use crate::model::path::{Path, Steps};
use crate::model::{Event, Fields, Outline};

pub use self::list::Lists;

/// All conditions of a rule set, compiled. Shared by all threads.
#[derive(Debug)]
pub struct Matcher {
    exprs: Box<[Node]>,
    leaves: Box<[Leaf]>,
    answers: Box<[Answer]>,
    /// The expressions that wait for a leaf.
    waiting: Postings<()>,
    /// Expressions without witness.
    always: Box<[u32]>,
    /// Fields with tests, in the order of their ids; one field may come several times, with different paths into its JSON.
    fields: Box<[FieldTests]>,
    /// For each field id, which of `fields` are of it.
    by_id: Box<[(u32, u32)]>,
    /// One bit a field id: whether it has tests.
    tested: Box<[u64]>,
}

/// A thread's memory for one matcher, reused for every line.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each leaf, what is known of it: a line's number and two bits of [`Known`].
    leaves: Vec<u32>,
    /// For each expression, the last line that made it a candidate.
    exprs: Vec<u32>,
    candidates: Vec<u32>,
    line: u32,
    buffer: String,
}

/// Why a rule set could not be compiled: which expression, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct MatchError {
    /// The index in what was given to [`Matcher::compile`].
    pub expr: usize,
    pub problem: String,
}

/// What is known of a leaf on this line, in the two low bits of its entry.
mod known {
    pub const FALSE: u32 = 0;
    pub const TRUE: u32 = 1;
    /// Its filter was passed.
    pub const PERHAPS: u32 = 2;
}

/// Lines are counted in the 30 bits above [`known`].
const LINE_MAX: u32 = (1 << 30) - 1;

impl Matcher {
    /// Compiles one expression a rule, or one a step of a rule: `matches` reports their indices. Names that are new become
    /// fields, so events must be given slots after rules are compiled.
    pub fn compile(exprs: &[Expr], fields: &mut Fields, lists: &Lists) -> Result<Matcher, MatchError> {
        let mut compile = Compile { fields, lists, numbers: HashMap::new(), leaves: Vec::new() };
        let mut nodes = Vec::with_capacity(exprs.len());
        for (index, expr) in exprs.iter().enumerate() {
            let node = compile.node(expr, Case::Kept, 0);
            nodes.push(node.map_err(|problem| MatchError { expr: index, problem })?);
        }
        Ok(index(nodes, compile.leaves))
    }

    /// Memory for [`Matcher::matches`]. It may be used with another matcher later.
    pub fn new_scratch(&self) -> Scratch {
        let mut scratch = Scratch::default();
        scratch.begin(self);
        scratch
    }

    /// How many expressions are tried on every line, because they may hold where nothing is.
    pub fn always_len(&self) -> usize {
        self.always.len()
    }

    /// Appends the indices of all expressions that hold, ascending.
    pub fn matches(&self, event: Event, scratch: &mut Scratch, out: &mut Vec<u32>) {
        scratch.begin(self);
        let first = out.len();
        for (word, (present, tested)) in event.buf.present().iter().zip(&self.tested).enumerate() {
            let mut bits = present & tested;
            while bits != 0 {
                let (from, to) = self.by_id[word * 64 + bits.trailing_zeros() as usize];
                for field in &self.fields[from as usize..to as usize] {
                    self.scan(field, event, scratch);
                }
                bits &= bits - 1;
            }
        }
        for expr in &self.always {
            if self.holds(*expr, event, scratch) {
                out.push(*expr);
            }
        }
        let candidates = std::mem::take(&mut scratch.candidates);
        for expr in &candidates {
            if self.holds(*expr, event, scratch) {
                out.push(*expr);
            }
        }
        scratch.candidates = candidates;
        out[first..].sort_unstable();
    }

    /// Whether an event of that outline could satisfy an expression. To be asked rarely: it tries them all.
    pub fn could_match(&self, outline: Outline) -> bool {
        let mut buffer = String::new();
        let mut leaf = |number: u32| {
            let leaf = &self.leaves[number as usize];
            let known = !leaf.fields().any(|it| outline.is_open(it));
            known.then(|| leaf.holds(outline.certain, &mut buffer))
        };
        self.exprs.iter().any(|it| it.could_hold(&mut leaf) != Some(false))
    }

    fn scan(&self, field: &FieldTests, event: Event, scratch: &mut Scratch) {
        let mut buffer = std::mem::take(&mut scratch.buffer);
        field.scan(event, &mut buffer, &mut |leaf| {
            if scratch.known(leaf).is_none() {
                let found = if self.answers[leaf as usize] == Answer::Exact { known::TRUE } else { known::PERHAPS };
                scratch.learn(leaf, found);
                self.wake(leaf, scratch);
            }
        });
        scratch.buffer = buffer;
        for leaf in &field.asked {
            if self.leaf_holds(*leaf, event, scratch) {
                self.wake(*leaf, scratch);
            }
        }
    }

    /// Makes candidates of the expressions that wait for the leaf.
    fn wake(&self, leaf: u32, scratch: &mut Scratch) {
        for expr in self.waiting.get(leaf as usize).1 {
            let last = &mut scratch.exprs[*expr as usize];
            if *last != scratch.line {
                *last = scratch.line;
                scratch.candidates.push(*expr);
            }
        }
    }

    fn holds(&self, expr: u32, event: Event, scratch: &mut Scratch) -> bool {
        self.exprs[expr as usize].holds(&mut |leaf| self.leaf_holds(leaf, event, scratch))
    }

    fn leaf_holds(&self, leaf: u32, event: Event, scratch: &mut Scratch) -> bool {
        match (scratch.known(leaf), self.answers[leaf as usize]) {
            (Some(known::TRUE), _) => return true,
            (Some(known::FALSE), _) | (None, Answer::Exact | Answer::Filter) => return false,
            (Some(_), _) | (None, Answer::Unknown) => {}
        }
        let holds = self.leaves[leaf as usize].holds(event, &mut scratch.buffer);
        scratch.learn(leaf, if holds { known::TRUE } else { known::FALSE });
        holds
    }
}

impl Scratch {
    /// Forgets the last line. Nothing is cleared: what was learnt of an earlier line bears its number.
    fn begin(&mut self, matcher: &Matcher) {
        if self.line == LINE_MAX {
            self.leaves.fill(0);
            self.exprs.fill(0);
            self.line = 0;
        }
        self.line += 1;
        self.leaves.resize(matcher.leaves.len(), 0);
        self.exprs.resize(matcher.exprs.len(), 0);
        self.candidates.clear();
    }

    #[inline]
    fn known(&self, leaf: u32) -> Option<u32> {
        let entry = self.leaves[leaf as usize];
        (entry >> 2 == self.line).then_some(entry & 3)
    }

    #[inline]
    fn learn(&mut self, leaf: u32, known: u32) {
        self.leaves[leaf as usize] = self.line << 2 | known;
    }
}

/// Expressions become nodes over leaves; equal leaves become one.
struct Compile<'a> {
    fields: &'a mut Fields,
    lists: &'a Lists,
    numbers: HashMap<String, u32>,
    leaves: Vec<CompiledLeaf>,
}

struct CompiledLeaf {
    leaf: Leaf,
    /// As rules name it.
    field: String,
    uses: u32,
}

impl Compile<'_> {
    fn node(&mut self, expr: &Expr, case: Case, depth: usize) -> Result<Node, String> {
        if depth > limits::EXPR_DEPTH_MAX {
            return Err(format!("the condition is nested more than {} deep", limits::EXPR_DEPTH_MAX));
        }
        match expr {
            Expr::All(parts) => self.nodes(parts, case, depth).map(Node::All),
            Expr::Any(parts) => self.nodes(parts, case, depth).map(Node::Any),
            Expr::Not(part) => Ok(Node::Not(Box::new(self.node(part, case, depth + 1)?))),
            Expr::NoCase(part) => self.node(part, Case::Folded, depth + 1),
            leaf => self.leaf(leaf, case).map(Node::Leaf),
        }
    }

    fn nodes(&mut self, parts: &[Expr], case: Case, depth: usize) -> Result<Vec<Node>, String> {
        parts.iter().map(|it| self.node(it, case, depth + 1)).collect()
    }

    fn leaf(&mut self, expr: &Expr, case: Case) -> Result<u32, String> {
        let key = format!("{case:?} {expr:?}");
        if let Some(number) = self.numbers.get(&key) {
            self.leaves[*number as usize].uses += 1;
            return Ok(*number);
        }
        let fields = &mut *self.fields;
        let mut resolve = |name: &str| operand(name, fields);
        let leaf = Leaf::new(expr, case, &mut resolve, self.lists)?;
        let leaf = leaf.expect("`node` takes apart what is no leaf");
        let mut field = String::new();
        expr.fields(&mut |it| {
            if field.is_empty() {
                field.push_str(it);
            }
        });
        let number = self.leaves.len() as u32;
        self.leaves.push(CompiledLeaf { leaf, field, uses: 1 });
        self.numbers.insert(key, number);
        Ok(number)
    }
}

/// What a rule means by a name.
pub fn operand(name: &str, fields: &mut Fields) -> Result<Operand, String> {
    let path = match Path::several(name) {
        true => Path { root: name.to_string(), steps: Steps::default() },
        false => Path::parse(name)?,
    };
    if fields.len() >= limits::FIELDS_MAX {
        return Err(format!("rules and schemas name more than {} fields", limits::FIELDS_MAX));
    }
    Ok(Operand { field: fields.named_by_rule(&path.root), steps: path.steps })
}

/// Chooses witnesses and files them by field.
fn index(mut nodes: Vec<Node>, leaves: Vec<CompiledLeaf>) -> Matcher {
    let guesses: Vec<Guess> = leaves.iter().map(|it| Guess::new(&it.leaf, &it.field, it.uses)).collect();
    let leaves: Vec<Leaf> = leaves.into_iter().map(|it| it.leaf).collect();
    let mut waiting: Vec<Vec<u32>> = vec![Vec::new(); leaves.len()];
    let mut always = Vec::new();
    for (expr, node) in nodes.iter().enumerate() {
        match witness::choose(node, &guesses) {
            None => always.push(expr as u32),
            Some(chosen) => chosen.into_iter().for_each(|it| waiting[it as usize].push(expr as u32)),
        }
    }
    let mut fields = Filing::new(&leaves);
    for number in 0..leaves.len() as u32 {
        if !waiting[number as usize].is_empty() {
            fields.file_witness(number);
        }
    }
    fields.file_always(&always, &nodes);
    let answers = fields.answers;
    let mut fields: Vec<FieldTests> = fields.builders.into_iter().filter_map(FieldBuilder::build).collect();
    fields.sort_by_key(|it| it.operand.field);
    let price = |it: u32| price(&leaves[it as usize], answers[it as usize]);
    nodes.iter_mut().for_each(|it| _ = it.order(&price));
    let ids = fields.last().map_or(0, |it| it.operand.field.index() + 1);
    let mut by_id = vec![(0, 0); ids];
    let mut tested = vec![0u64; ids.div_ceil(64)];
    for (index, field) in fields.iter().enumerate() {
        let id = field.operand.field.index();
        if tested[id >> 6] >> (id & 63) & 1 == 0 {
            tested[id >> 6] |= 1 << (id & 63);
            by_id[id] = (index as u32, index as u32);
        }
        by_id[id].1 = index as u32 + 1;
    }
    Matcher {
        exprs: nodes.into(),
        leaves: leaves.into(),
        answers: answers.into(),
        waiting: Postings::new(waiting.into_iter().map(|it| (Vec::new(), it))),
        always: always.into(),
        fields: fields.into(),
        by_id: by_id.into(),
        tested: tested.into(),
    }
}

/// What asking a leaf costs once the fields were scanned, roughly in nanoseconds.
fn price(leaf: &Leaf, answer: Answer) -> u32 {
    let asked = match &leaf.test {
        Test::Exists => 2,
        Test::OneOf(..) | Test::StartsWith(..) | Test::EndsWith(..) | Test::Bound(..) => 10,
        Test::SameAs(..) | Test::Contains(..) => 30,
        Test::Cidr(..) | Test::InList(..) | Test::Glob(..) => 60,
        Test::Matches(..) => 300,
    };
    match answer {
        Answer::Exact => 1,
        Answer::Filter => asked / 2,
        Answer::Unknown => asked,
    }
}

/// Leaves on their way into the indices of their fields.
struct Filing<'a> {
    leaves: &'a [Leaf],
    builders: Vec<FieldBuilder>,
    /// For each leaf, which builder is of its operand.
    builder_of: Vec<usize>,
    answers: Vec<Answer>,
}

/// So many tests of one field that are needed on every line are better looked up at once than one by one.
const TESTS_WORTH_AN_INDEX: usize = 8;

impl<'a> Filing<'a> {
    fn new(leaves: &'a [Leaf]) -> Filing<'a> {
        let mut by_operand: HashMap<String, usize> = HashMap::new();
        let mut builders = Vec::new();
        let mut builder_of = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let index = *by_operand.entry(format!("{:?}", leaf.operand)).or_insert_with(|| {
                builders.push(FieldBuilder::new(leaf.operand.clone()));
                builders.len() - 1
            });
            builder_of.push(index);
        }
        Filing { leaves, builders, builder_of, answers: vec![Answer::Unknown; leaves.len()] }
    }

    fn file_witness(&mut self, number: u32) {
        if self.file(number) == Answer::Unknown {
            self.builders[self.builder_of[number as usize]].ask(number);
        }
    }

    fn file(&mut self, number: u32) -> Answer {
        let index = number as usize;
        if self.answers[index] == Answer::Unknown {
            self.answers[index] = self.builders[self.builder_of[index]].index(number, &self.leaves[index]);
        }
        self.answers[index]
    }

    /// Takes in what expressions without witness ask on every line.
    fn file_always(&mut self, always: &[u32], nodes: &[Node]) {
        let mut asked: Vec<Vec<u32>> = vec![Vec::new(); self.builders.len()];
        for expr in always {
            nodes[*expr as usize].each_leaf(&mut |it| asked[self.builder_of[it as usize]].push(it));
        }
        for numbers in asked.into_iter().filter(|it| it.len() >= TESTS_WORTH_AN_INDEX) {
            numbers.into_iter().for_each(|it| _ = self.file(it));
        }
    }
}
