//! The first and last four bytes of a value, read once and asked many things.

/// Both edges of a text and its length.
#[derive(Clone, Copy, Debug)]
pub struct Edges {
    /// The first byte is the lowest. Shorter texts end in zeros.
    pub head: u32,
    /// The last byte is the highest. Shorter texts begin with zeros.
    pub tail: u32,
    pub len: usize,
}

impl Edges {
    #[inline]
    pub fn of(text: &[u8]) -> Edges {
        match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(head), Some(tail)) => {
                Edges { head: u32::from_le_bytes(*head), tail: u32::from_le_bytes(*tail), len: text.len() }
            }
            _ => Edges::of_short(text),
        }
    }

    fn of_short(text: &[u8]) -> Edges {
        let head = text.iter().rev().fold(0, |sum, it| sum << 8 | u32::from(*it));
        let unused = 32 - 8 * text.len() as u32;
        Edges { head, tail: head.checked_shl(unused).unwrap_or(0), len: text.len() }
    }
}

/// One bit for each of many hashes: says for sure that a word was never put in, in one look.
#[derive(Debug)]
pub struct Gate {
    bits: Box<[u64]>,
    shift: u32,
}

impl Gate {
    /// Some 16 bits a word, so that one in sixteen others gets through.
    pub fn new(words: &[u32]) -> Gate {
        let size = (words.len().max(1) * 16).next_power_of_two().ilog2().clamp(6, 22);
        let mut gate = Gate { bits: vec![0; 1 << (size - 6)].into(), shift: 32 - size };
        for word in words {
            let place = gate.place(*word);
            gate.bits[place >> 6] |= 1 << (place & 63);
        }
        gate
    }

    #[inline]
    fn place(&self, word: u32) -> usize {
        (word.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    #[inline]
    pub fn may_hold(&self, word: u32) -> bool {
        let place = self.place(word);
        self.bits[place >> 6] >> (place & 63) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_short_and_long_texts() {
        for (text, head, tail) in [
            ("", *b"\0\0\0\0", *b"\0\0\0\0"),
            ("a", *b"a\0\0\0", *b"\0\0\0a"),
            ("abc", *b"abc\0", *b"\0abc"),
            ("abcd", *b"abcd", *b"abcd"),
            ("abcdefg", *b"abcd", *b"defg"),
        ] {
            let edges = Edges::of(text.as_bytes());
            assert_eq!((edges.head.to_le_bytes(), edges.tail.to_le_bytes(), edges.len), (head, tail, text.len()));
        }
    }

    #[test]
    fn a_gate_lets_in_what_was_put_in_and_little_else() {
        let words: Vec<u32> = (0..1000).map(|it: u32| it.wrapping_mul(2_654_435_769)).collect();
        let gate = Gate::new(&words);
        assert!(words.iter().all(|it| gate.may_hold(*it)));
        let through = (0..10_000u32).map(|it| it.wrapping_mul(40_503) ^ 0x5bd1_e995).filter(|it| gate.may_hold(*it));
        assert!(through.count() < 2000);
    }
}
