//! What was found out about values that come again and again.
//!
//! Countries, networks, programs and actions are a few dozen texts in millions of records. The secret hash of one, or what all
//! rules say of it, takes longer than comparing it with what was asked before.

/// The last values and a number for each, a few dozen of them; one that falls on another's place takes it.
#[derive(Debug)]
pub struct Recent(Box<[Known]>);

#[derive(Clone, Debug)]
struct Known {
    number: u64,
    /// 255: nothing stands there.
    len: u8,
    /// The number of the value's field.
    field: u8,
    text: [u8; TEXT_MAX],
}

/// Longer texts are asked about each time.
const TEXT_MAX: usize = 150;
const PLACES: usize = 64;

impl Default for Recent {
    fn default() -> Recent {
        Recent(vec![Known { number: 0, len: u8::MAX, field: 0, text: [0; TEXT_MAX] }; PLACES].into())
    }
}

impl Recent {
    /// The number of a field's value, made by `make` where it is not known.
    pub fn of(&mut self, field: usize, value: &str, make: impl FnOnce() -> u64) -> u64 {
        let bytes = value.as_bytes();
        if bytes.len() > TEXT_MAX || field > usize::from(u8::MAX) {
            return make();
        }
        let known = &mut self.0[place(field, bytes)];
        let (len, field) = (bytes.len() as u8, field as u8);
        if known.len != len || known.field != field || known.text[..bytes.len()] != *bytes {
            (known.number, known.len, known.field) = (make(), len, field);
            known.text[..bytes.len()].copy_from_slice(bytes);
        }
        known.number
    }
}

/// Where a value is looked for. Who makes two fall together makes them slower, by asking each time.
fn place(field: usize, bytes: &[u8]) -> usize {
    let ends = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29),
        _ => bytes.iter().fold(0, |all, it| all << 8 | u64::from(*it)),
    };
    let mixed = (ends ^ (bytes.len() as u64) << 3 ^ (field as u64) << 59).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 58) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKeys;

    proptest::proptest! {
        #[test]
        fn a_known_number_is_the_same_number(values in proptest::collection::vec((0usize..3, "[a-c]{0,9}|x{140,160}"), 1..300)) {
            let (mut recent, keys) = (Recent::default(), HashKeys(1, 2));
            let mut made = 0;
            for (field, value) in &values {
                let plain = keys.hash_one(*field, value);
                let found = recent.of(*field, value, || { made += 1; plain });
                proptest::prop_assert_eq!(found, plain);
            }
            let again = recent.of(0, "same", || 5);
            proptest::prop_assert_eq!((recent.of(0, "same", || 6), recent.of(1, "same", || 7)), (again, 7));
            proptest::prop_assert!(made <= values.len());
        }
    }
}
