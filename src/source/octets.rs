//! Octet counts of syslog over TCP (RFC 6587 §3.4.1), and what an honest one looks like.
//!
//! `123 <34>1 2025-…` says that a message of 123 bytes follows, which may contain line feeds. Nothing announces this
//! framing, and `200 <html>` in an access log looks much the same; so a count is believed only before a priority in angle
//! brackets, which every syslog message begins with.

/// What the beginning of a line says about its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A line that ends with a line feed.
    None,
    /// More bytes are needed to tell.
    Unknown,
    /// `skip` bytes of count and space, then a message of `len` bytes.
    Counted { skip: usize, len: usize },
}

/// Digits of a count that are read; the value is compared with limits later, so a silly one must still be recognised.
const DIGITS_MAX: usize = 20;
/// Digits of a priority.
const PRIORITY_DIGITS_MAX: usize = 3;

pub fn header(bytes: &[u8]) -> Header {
    let digits = digits_len(bytes, DIGITS_MAX);
    if digits == 0 || bytes[0] == b'0' {
        return if bytes.is_empty() { Header::Unknown } else { Header::None };
    }
    let mut rest = &bytes[digits..];
    for expected in *b" <" {
        match rest.split_first() {
            None => return Header::Unknown,
            Some((byte, after)) if *byte == expected => rest = after,
            Some(_) => return Header::None,
        }
    }
    let priority = digits_len(rest, PRIORITY_DIGITS_MAX);
    match rest.get(priority) {
        None => Header::Unknown,
        Some(b'>') if priority > 0 => {
            let add = |sum: usize, it: &u8| sum.saturating_mul(10).saturating_add(usize::from(it - b'0'));
            Header::Counted { skip: digits + 1, len: bytes[..digits].iter().fold(0, add) }
        }
        Some(_) => Header::None,
    }
}

fn digits_len(bytes: &[u8], len_max: usize) -> usize {
    bytes.iter().take(len_max).take_while(|it| it.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_from_lines() {
        let counted = |skip, len| Header::Counted { skip, len };
        let table: &[(&str, Header)] = &[
            ("123 <34>1 2025", counted(4, 123)),
            ("5 <0>", counted(2, 5)),
            ("99999999999999999999 <1>x", counted(21, usize::MAX)),
            ("", Header::Unknown),
            ("1", Header::Unknown),
            ("12 ", Header::Unknown),
            ("12 <", Header::Unknown),
            ("12 <191", Header::Unknown),
            ("0 <34>", Header::None),
            ("012 <34>", Header::None),
            ("12 <>", Header::None),
            ("12 <1234>", Header::None),
            ("200 <html>", Header::None),
            ("2025-04-12", Header::None),
            ("<34>1 2025", Header::None),
            ("999999999999999999999 <1>x", Header::None),
        ];
        for (text, expected) in table {
            assert_eq!(header(text.as_bytes()), *expected, "{text}");
        }
    }
}
