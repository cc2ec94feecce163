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
        let (head, tail) = match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(head), Some(tail)) => (*head, *tail),
            _ => {
                let (mut head, mut tail) = ([0; 4], [0; 4]);
                head[..text.len()].copy_from_slice(text);
                tail[4 - text.len()..].copy_from_slice(text);
                (head, tail)
            }
        };
        Edges { head: u32::from_le_bytes(head), tail: u32::from_le_bytes(tail), len: text.len() }
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
