//! Which tests tell that a rule need be looked at.
//!
//! A rule's *witnesses* are leaves of which at least one holds whenever the rule does. Of `All` one part will do, of `Any` every
//! branch must bring its own, and what is negated can bring none: it holds where nothing is. A rule with witnesses costs nothing on a
//! line that satisfies none of them; so the best are the rarest. How rare a test is on lines not yet seen can only be guessed;
//! the guess decides what a line costs, never what it matches.

use super::leaf::{Leaf, Test};
use super::node::Node;

/// Fields with few values: naming one says little. Known by the last part of the name too, whatever vendor writes it.
const CLOSED: [&str; 14] = [
    "activity",
    "outcome",
    "provider",
    "kind",
    "category",
    "dataset",
    "module",
    "type",
    "result",
    "status",
    "severity",
    "level",
    "eventSource",
    "country_iso_code",
];

/// What choosing witnesses needs to know of a leaf.
pub struct Guess {
    /// How often it is seen to hold, a line; and the price of asking, in the same unit.
    price: f64,
}

impl Guess {
    /// `field` as the rules name it; `uses` in how many rules the leaf stands: what many rules ask for is common.
    pub fn new(leaf: &Leaf, field: &str, uses: u32) -> Guess {
        let uses = f64::from(uses);
        let price = match &leaf.test {
            Test::OneOf(values, _) => {
                let closed = CLOSED.contains(&field.rsplit('.').next().unwrap_or(field));
                let one = |it: &str| if closed { 0.2 } else { of_equal(it.len()) };
                let texts: f64 = values.texts.iter().map(|it| one(it)).sum();
                let numbers = (values.ints.len() + values.floats.len()) as f64 * 0.05;
                (texts + numbers) * uses
            }
            Test::Contains(part, _) => searched(part.needle().len(), uses),
            Test::StartsWith(part, _) | Test::EndsWith(part, _) => searched(part.len(), uses),
            Test::Glob(glob, _) => match glob.longest_literal().len() {
                0 => 1.0 + UNINDEXED,
                len => searched(len, uses) * 2.0,
            },
            Test::Matches(regex) => match &regex.required {
                None => 1.0 + 10.0 * UNINDEXED,
                Some(texts) => texts.iter().map(|it| searched(it.len(), uses)).sum::<f64>() * 4.0,
            },
            Test::Cidr(networks) => networks.share() * uses,
            Test::Bound(..) => 0.5,
            Test::InList(..) => 0.1 + UNINDEXED,
            Test::SameAs(..) => 0.5 + UNINDEXED,
            Test::Exists => 0.9 + UNINDEXED,
        };
        Guess { price }
    }
}

/// Tests that no index answers are asked of every line that has the field.
const UNINDEXED: f64 = 0.5;

fn of_equal(len: usize) -> f64 {
    match len {
        0..=3 => 0.08,
        4..=8 => 0.02,
        _ => 0.004,
    }
}

fn searched(len: usize, uses: f64) -> f64 {
    let once = match len {
        0 => return 1.0 + UNINDEXED,
        1 => 0.8,
        2 => 0.4,
        3 => 0.15,
        4 => 0.05,
        5 => 0.03,
        6 => 0.015,
        7 => 0.008,
        _ => 0.004,
    };
    once * uses
}

/// The leaves to wait for; None when the expression may hold without any leaf holding. An expression that can never hold
/// has no leaves to wait for, and that is right.
pub fn choose(node: &Node, guesses: &[Guess]) -> Option<Vec<u32>> {
    wait(node, false, guesses).map(|it| it.leaves)
}

struct Choice {
    price: f64,
    leaves: Vec<u32>,
}

fn wait(node: &Node, negated: bool, guesses: &[Guess]) -> Option<Choice> {
    match (node, negated) {
        (Node::Leaf(_), true) => None,
        (Node::Leaf(it), false) => Some(Choice { price: guesses[*it as usize].price, leaves: vec![*it] }),
        (Node::Not(part), negated) => wait(part, !negated, guesses),
        (Node::All(parts), false) | (Node::Any(parts), true) => {
            let choices = parts.iter().filter_map(|it| wait(it, negated, guesses));
            choices.min_by(|a, b| a.price.total_cmp(&b.price))
        }
        (Node::Any(parts), false) | (Node::All(parts), true) => {
            let mut sum = Choice { price: 0.0, leaves: Vec::new() };
            for part in parts {
                let choice = wait(part, negated, guesses)?;
                sum.price += choice.price;
                sum.leaves.extend(choice.leaves);
            }
            Some(sum)
        }
    }
}
