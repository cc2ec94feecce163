//! When two names are the same one.
//!
//! Attackers split a counter by writing a name in many ways. Folded fields are compared after Unicode NFKC, case folding
//! and without invisible characters and outer white space; an IPv6 address counts as its /64, which is what one customer
//! gets. What is shown stays as written.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use unicode_normalization::UnicodeNormalization;

use super::{List, address, text};
use crate::limits;

/// Secret numbers that key entity hashes, so that nobody can make entities collide; the same for all of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKeys(pub u64, pub u64);

impl HashKeys {
    /// From the operating system's randomness, by way of the standard library's hasher.
    pub fn random() -> HashKeys {
        use std::hash::BuildHasher;
        let word = || std::collections::hash_map::RandomState::new().hash_one(0u8);
        HashKeys(word(), word())
    }

    /// The hash of a value of one of several fields: the same text in another is something else.
    pub fn hash_one(self, field: usize, value: &str) -> u64 {
        let mut form: Form = SmallVec::new();
        form.push(field as u8);
        form.extend_from_slice(value.as_bytes());
        self.hash_form(&form)
    }

    /// The hash of an entity of one field.
    pub fn hash(self, value: &str, compare: Compare) -> u64 {
        let mut form: Form = SmallVec::new();
        form.extend_from_slice(canonical(value, compare).as_bytes());
        form.push(END);
        self.hash_form(&form)
    }

    /// The hash of canonical forms, each with an [`END`]. In one piece: as fast again as in many.
    pub fn hash_form(self, form: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.0, self.1).hash(form)
    }
}

/// Nearly all values fit.
type Form = SmallVec<[u8; 128]>;
/// What ends a canonical form: no UTF-8 holds it.
pub const END: u8 = 0xff;

/// Whether a text is visible ASCII and blanks, so that folding it only makes letters small.
fn is_plain(text: &str) -> bool {
    // Without an early end: so sixteen bytes are one step.
    text.bytes().fold(true, |plain, it| plain & (b' '..=b'~').contains(&it))
}

/// Without outer white space, of which most have none.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// How the values of one `by` field are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compare {
    Exact,
    Folded,
    /// Addresses: IPv4 and IPv4-mapped as one, IPv6 by its /64.
    Address,
    /// The same, IPv6 by that many leading bits, at most 64.
    Prefix(u8),
}

/// The form of a value that is compared. Borrowed when the value is in that form already.
pub fn canonical(value: &str, compare: Compare) -> Cow<'_, str> {
    let value = text::cut(value, limits::VALUE_BYTES_MAX);
    let bits = match compare {
        Compare::Exact => return Cow::Borrowed(value),
        Compare::Folded => return fold(value),
        Compare::Address => 64,
        Compare::Prefix(bits) => bits.clamp(1, 64),
    };
    if address::ipv4(value).is_some() {
        // As std writes it, already.
        return Cow::Borrowed(value);
    }
    match address::parse(value) {
        Some(IpAddr::V4(it)) => Cow::Owned(it.to_string()),
        Some(IpAddr::V6(it)) => {
            let rest = 128 - u32::from(bits);
            let network = u128::from(it) >> rest << rest;
            Cow::Owned(format!("{}/{bits}", std::net::Ipv6Addr::from(network)))
        }
        None => fold(value),
    }
}

/// Appends the form of a value that is compared; allocates only for what is not ASCII.
pub fn canonical_into(value: &str, compare: Compare, out: &mut Vec<u8>) {
    let value = text::cut(value, limits::VALUE_BYTES_MAX);
    let trimmed = trimmed(value);
    if compare == Compare::Folded && is_plain(trimmed) {
        let from = out.len();
        out.extend_from_slice(trimmed.as_bytes());
        out[from..].make_ascii_lowercase();
    } else {
        out.extend_from_slice(canonical(value, compare).as_bytes());
    }
}

/// The form in which an entity is compared, of its values as a hit has them; in place of what is in `key`.
pub fn entity_key(entity: &str, compare: &[Compare], key: &mut Vec<u8>) {
    key.clear();
    for (value, compare) in entity.split(List::SEPARATOR).zip(compare) {
        if !key.is_empty() {
            key.push(List::SEPARATOR as u8);
        }
        canonical_into(value, *compare, key);
    }
}

fn fold(value: &str) -> Cow<'_, str> {
    let trimmed = trimmed(value);
    if is_plain(trimmed) {
        return match trimmed.bytes().any(|it| it.is_ascii_uppercase()) {
            true => Cow::Owned(trimmed.to_ascii_lowercase()),
            false => Cow::Borrowed(trimmed),
        };
    }
    // Folding can undo the normal form, and the normal form can need folding: twice is enough for a stable result.
    let once =
        |it: &str| caseless::default_case_fold_str(&it.nfkc().filter(|it| !text::is_hostile(*it)).collect::<String>());
    let folded: String = once(&once(trimmed)).nfkc().collect();
    Cow::Owned(folded.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_do_not_split_a_name() {
        for trick in ["ADMIN", " admin ", "ad\u{200b}min", "ＡＤＭＩＮ", "Admin", "ad\u{ad}min"] {
            assert_eq!(canonical(trick, Compare::Folded), "admin", "{trick}");
        }
        assert_eq!(canonical("STRASSE", Compare::Folded), canonical("straße", Compare::Folded));
        assert_ne!(canonical("Admin", Compare::Exact), canonical("admin", Compare::Exact));
    }

    #[test]
    fn an_address_has_one_form() {
        assert_eq!(canonical("::ffff:192.0.2.7", Compare::Address), "192.0.2.7");
        assert_eq!(canonical("2001:DB8::1", Compare::Address), canonical("2001:db8:0:0:ffff::2", Compare::Address));
        assert_ne!(canonical("2001:db8:0:1::1", Compare::Address), canonical("2001:db8::1", Compare::Address));
        assert_eq!(canonical("2001:db8:7:8::9", Compare::Prefix(48)), "2001:db8:7::/48");
        assert_eq!(canonical("2001:db8:7:8::9", Compare::Prefix(32)), "2001:db8::/32");
        assert_eq!(canonical("::ffff:192.0.2.7", Compare::Prefix(48)), "192.0.2.7");
    }

    proptest::proptest! {
        #[test]
        fn appending_gives_the_same(value in " {0,2}([A-Za-z0-9@. _-]{0,12}|\\PC{0,6}|[0-9.]{7,15}|[A-Za-z ]{186,196}) {0,2}") {
            for compare in [Compare::Exact, Compare::Folded, Compare::Address, Compare::Prefix(48)] {
                let mut appended = Vec::new();
                canonical_into(&value, compare, &mut appended);
                let whole = canonical(&value, compare);
                proptest::prop_assert_eq!(&appended[..], whole.as_bytes());
                let mut keyed = SipHasher13::new_with_keys(1, 2);
                std::hash::Hasher::write(&mut keyed, whole.as_bytes());
                std::hash::Hasher::write_u8(&mut keyed, END);
                proptest::prop_assert_eq!(HashKeys(1, 2).hash(&value, compare), std::hash::Hasher::finish(&keyed));
            }
        }

        #[test]
        fn folding_twice_is_folding_once(value in "\\PC{0,12}") {
            let once = canonical(&value, Compare::Folded).into_owned();
            proptest::prop_assert_eq!(canonical(&once, Compare::Folded), once.as_str());
        }
    }
}
