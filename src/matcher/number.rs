//! Which of many numeric tests one number satisfies.
//!
//! Bounds stand sorted, so that those which hold come first and the first that fails ends the walk: a number costs as much
//! as the tests it satisfies.

use hashbrown::HashMap;

use super::leaf::{Bound, Number};

#[derive(Default, Debug)]
pub struct Numbers {
    ints: HashMap<i64, Vec<u32>>,
    /// The same numbers by their float, for values that are not written whole.
    ints_as_floats: HashMap<u64, Vec<u32>>,
    floats: HashMap<u64, Vec<u32>>,
    /// `Gt` and `Ge`, the lowest first.
    above: Vec<(Bound, f64, u32)>,
    /// `Lt` and `Le`, the highest first.
    below: Vec<(Bound, f64, u32)>,
}

impl Numbers {
    pub fn add_int(&mut self, value: i64, test: u32) {
        self.ints.entry(value).or_default().push(test);
        self.ints_as_floats.entry(key(value as f64)).or_default().push(test);
    }

    pub fn add_float(&mut self, value: f64, test: u32) {
        self.floats.entry(key(value)).or_default().push(test);
    }

    pub fn add_bound(&mut self, bound: Bound, value: f64, test: u32) {
        let value = value + 0.0; // One zero, or sorting would put something between the two.
        match bound {
            // Nothing is above or below what is no number.
            _ if value.is_nan() => {}
            Bound::Gt | Bound::Ge => self.above.push((bound, value, test)),
            Bound::Lt | Bound::Le => self.below.push((bound, value, test)),
        }
    }

    /// To be called once, after the last test was added.
    pub fn sort(&mut self) {
        let strict = |it: Bound| matches!(it, Bound::Gt | Bound::Lt);
        self.above.sort_by(|a, b| a.1.total_cmp(&b.1).then(strict(a.0).cmp(&strict(b.0))));
        self.below.sort_by(|a, b| b.1.total_cmp(&a.1).then(strict(a.0).cmp(&strict(b.0))));
    }

    pub fn is_empty(&self) -> bool {
        self.ints.is_empty() && self.floats.is_empty() && self.above.is_empty() && self.below.is_empty()
    }

    #[inline]
    pub fn scan(&self, number: Number, found: &mut impl FnMut(u32)) {
        let float = number.float();
        let whole = match number {
            Number::Int(it) => self.ints.get(&it),
            Number::Float(it) => self.ints_as_floats.get(&key(it)),
        };
        for tests in [whole, self.floats.get(&key(float))].into_iter().flatten() {
            tests.iter().for_each(|it| found(*it));
        }
        for bounds in [&self.above, &self.below] {
            let holding = bounds.iter().take_while(|(bound, value, _)| bound.holds(float, *value));
            holding.for_each(|(_, _, test)| found(*test));
        }
    }
}

/// Equal numbers have one key: adding zero makes -0.0 the other zero.
fn key(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_exactly_the_tests_that_hold() {
        let values = [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1.0, 1.0, 7.25, 9e15, f64::INFINITY, f64::NAN];
        let mut numbers = Numbers::default();
        let mut tests = Vec::new();
        for value in values {
            for bound in [Bound::Lt, Bound::Le, Bound::Gt, Bound::Ge] {
                numbers.add_bound(bound, value, tests.len() as u32);
                tests.push((bound, value));
            }
        }
        numbers.sort();
        for probe in [-2.0, -1.5, -0.0, 0.0, 0.5, 1.0, 7.0, 7.25, 1e300] {
            let mut found = Vec::new();
            numbers.scan(Number::Float(probe), &mut |it| found.push(it as usize));
            found.sort_unstable();
            let expected: Vec<usize> = (0..tests.len()).filter(|it| tests[*it].0.holds(probe, tests[*it].1)).collect();
            assert_eq!(found, expected, "{probe}");
        }
    }

    #[test]
    fn large_whole_numbers_stay_apart() {
        let mut numbers = Numbers::default();
        let large = 9_007_199_254_740_993; // 2^53 + 1, which no float is
        numbers.add_int(large, 1);
        numbers.add_int(large - 1, 2);
        numbers.add_float(-0.0, 3);
        for (number, expected) in [
            (Number::Int(large), vec![1]),
            (Number::Int(large - 1), vec![2]),
            (Number::Float(9_007_199_254_740_992.0), vec![1, 2]),
            (Number::Int(0), vec![3]),
        ] {
            let mut found = Vec::new();
            numbers.scan(number, &mut |it| found.push(it));
            assert_eq!(found, expected, "{number:?}");
        }
    }
}
