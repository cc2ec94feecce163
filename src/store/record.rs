//! A checksum around every value.
//!
//! Most databases give back a flipped bit as if it were right. So each value is `version, CRC-32 of key and value, value`,
//! and reading it is checking it. The key is part of the sum, so that a value cannot turn up under another key.

/// A value that is not as it was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is of version {0}, which this tripline does not know")]
    Version(u8),
    #[error("it is cut short")]
    Short,
}

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;

/// The value with its checksum, to be written under `key`.
pub fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + value.len());
    out.extend_from_slice(&head(key, &[value]));
    out.extend_from_slice(value);
    out
}

/// What stands before a value that is written in pieces.
pub fn head<P: AsRef<[u8]>>(key: &[u8], pieces: &[P]) -> [u8; HEAD_BYTES] {
    let mut head = [VERSION; HEAD_BYTES];
    head[1..].copy_from_slice(&sum(key, pieces).to_le_bytes());
    head
}

/// The value that was sealed under `key`.
pub fn open<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (head, value) = sealed.split_at_checked(HEAD_BYTES).ok_or(Damaged::Short)?;
    if head[0] != VERSION {
        return Err(Damaged::Version(head[0]));
    }
    if head[1..] != sum(key, &[value]).to_le_bytes() {
        return Err(Damaged::Checksum);
    }
    Ok(value)
}

fn sum<P: AsRef<[u8]>>(key: &[u8], pieces: &[P]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[VERSION]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    pieces.iter().for_each(|it| hasher.update(it.as_ref()));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_flipped_bit_is_found(key in ".{0,8}", value in proptest::collection::vec(0u8.., 0..64), at in 0usize..1000) {
            let mut sealed = seal(key.as_bytes(), &value);
            proptest::prop_assert_eq!(open(key.as_bytes(), &sealed), Ok(value.as_slice()));
            let bit = at % (sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            proptest::prop_assert!(open(key.as_bytes(), &sealed).is_err());
        }
    }

    #[test]
    fn a_value_belongs_to_its_key() {
        assert_eq!(open(b"b", &seal(b"a", b"value")), Err(Damaged::Checksum));
        assert_eq!(open(b"a", b"\x01ab"), Err(Damaged::Short));
    }
}
