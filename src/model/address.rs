//! Addresses as logs write them.
//!
//! The same client is `198.51.100.7`, `198.51.100.7:50312`, `[::ffff:198.51.100.7]:443` and `::FFFF:C633:6407` in four
//! logs. A counter, a network list and a geo database must see one address, so every text that names a single host is read
//! to the one value it means, and everything else (`-`, `AWS Internal`, a network, a list) to nothing.
//!
//! What is refused on purpose: hexadecimal and single-number IPv4 (`0xc6336407`, `3325256711`) and octets with a leading
//! zero, because `010.1.2.3` is 10.1.2.3 to one program and 8.1.2.3 to another, and an attacker who chooses the text would
//! choose the reader too. One form with leading zeros is safe: all four octets padded to three digits
//! (`010.001.002.003`) is how old appliances align columns; it is read as decimal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wide::u8x16;

/// Longest text worth looking at: an IPv6 address with a zone, a port and some brackets.
const TEXT_BYTES_MAX: usize = 128;

/// The address a text names: with or without port (`:443`, BIND's `#53`), brackets, quotes, zone (`%eth0`), Java's leading
/// slash and surrounding space; IPv4 written as IPv6 (`::ffff:`) comes back as IPv4. None when it names no single host.
#[inline]
pub fn parse(text: &str) -> Option<IpAddr> {
    if let Some(address) = ipv4(text) {
        return Some(IpAddr::V4(address));
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical()),
        Err(_) => parse_decorated(text),
    }
}

/// Exactly the IPv4 addresses that std reads, in less time: every line has one, and as no two are alike a branch on each
/// byte is guessed wrongly several times an address. So all bytes are looked at together.
#[inline]
pub fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let len = text.len();
    if !matches!(len, 7..=15) {
        return None;
    }
    // Longer than the longest, so that three bytes can be read from wherever an octet begins.
    let mut padded = [0u8; 20];
    padded[..len].copy_from_slice(text.as_bytes());
    let all = u8x16::new(*padded.first_chunk()?);
    let values = all - u8x16::splat(b'0');
    let digits = values.simd_eq(values.min(u8x16::splat(9))).to_bitmask();
    let first = all.simd_eq(u8x16::splat(b'.')).to_bitmask();
    // Each without the dots before it.
    let second = first & first.wrapping_sub(1);
    let third = second & second.wrapping_sub(1);
    let has_three = third != 0 && third & (third - 1) == 0;
    if !has_three || digits | first != (1 << len) - 1 {
        return None;
    }
    let ends = [first, second, third].map(|it| it.trailing_zeros() as usize);
    let mut good = true;
    let mut octets = [0u8; 4];
    let mut start = 0;
    for (octet, end) in octets.iter_mut().zip(ends.into_iter().chain([len])) {
        let len = end - start;
        let three = u32::from_le_bytes(*padded.get(start..)?.first_chunk()?) ^ 0x30_3030;
        let aligned = three << (8 * 3usize.saturating_sub(len).min(2)) & 0xff_ffff;
        let value = (aligned & 0xff) * 100 + (aligned >> 8 & 0xff) * 10 + (aligned >> 16);
        good &= matches!(len, 1..=3) & (value < 256) & (len == 1 || three & 0xff != 0);
        *octet = value as u8;
        start = end + 1;
    }
    good.then(|| octets.into())
}

/// An address inside its decoration. Out of line: most lines carry the plain form, or `-`.
#[cold]
fn parse_decorated(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.len() < 2 || text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
        return None;
    }
    // What load balancers and cloud audit logs write, before the slower ways.
    if let Some((host, port)) = text.split_once(':')
        && let Ok(address) = host.parse::<Ipv4Addr>()
    {
        return is_port(&text[text.len() - port.len() - 1..]).then_some(IpAddr::V4(address));
    }
    let text = unquote(text);
    let text = text.strip_prefix('/').unwrap_or(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        return if after.is_empty() || is_port(after) { parse_zoned(inner.trim()) } else { None };
    }
    if let Some(address) = parse_zoned(text) {
        return Some(address);
    }
    // A port can follow IPv4 only: in `2001:db8::1:443` the last group belongs to the address.
    let at = text.rfind([':', '#'])?;
    let (host, port) = text.split_at(at);
    let address = if is_port(port) { parse_zoned(host)? } else { return None };
    (address.is_ipv4() && !host.contains(':') || port.starts_with('#')).then_some(address)
}

/// Without one pair of quotes or of round or angle brackets around the whole.
fn unquote(text: &str) -> &str {
    for (open, close) in [('"', '"'), ('\'', '\''), ('(', ')'), ('<', '>')] {
        if let Some(inner) = text.strip_prefix(open).and_then(|it| it.strip_suffix(close)) {
            return inner.trim();
        }
    }
    text
}

/// `:443` or `#53`.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix([':', '#']).unwrap_or("");
    (1..=5).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}

/// An address with or without a zone; IPv4 has them too (`10.1.2.3%4` is a route domain).
fn parse_zoned(text: &str) -> Option<IpAddr> {
    let host = match text.split_once('%') {
        Some((host, zone)) if is_zone(zone) => host,
        Some(_) => return None,
        None => text,
    };
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(address).to_canonical());
    }
    host.parse::<Ipv4Addr>().ok().or_else(|| parse_padded(host)).map(IpAddr::V4)
}

fn is_zone(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-' | b'~'))
}

/// Four octets of three decimal digits each.
fn parse_padded(text: &str) -> Option<Ipv4Addr> {
    let bytes = text.as_bytes();
    if bytes.len() != 15 || [3, 7, 11].iter().any(|it| bytes[*it] != b'.') {
        return None;
    }
    let mut octets = [0; 4];
    for (octet, digits) in octets.iter_mut().zip(text.split('.')) {
        if digits.len() != 3 || !digits.bytes().all(|it| it.is_ascii_digit()) {
            return None;
        }
        *octet = digits.parse().ok()?;
    }
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn ipv4_is_what_std_reads(
            text in "([0-9]{0,3}\\.){2,4}[0-9]{0,3}|([0-9]{1,3}\\.){3}[0-9]{1,3}|([0-2]?[0-9]{1,2}\\.){3}[0-9/:é]{1,2}|[0-9.]{0,16}|[0-9a-f:.]{1,9}",
        ) {
            proptest::prop_assert_eq!(ipv4(&text), text.parse().ok());
        }
    }

    fn check(text: &str, expected: &str) {
        let found = parse(text).map_or("none".to_string(), |it| it.to_string());
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn one_host_has_one_value() {
        for text in [
            "198.51.100.7",
            " 198.51.100.7\t",
            "198.51.100.7:50312",
            "198.51.100.7:0",
            "198.51.100.7#53",
            "[198.51.100.7]",
            "[198.51.100.7]:443",
            "(198.51.100.7)",
            "<198.51.100.7>",
            "\"198.51.100.7\"",
            "'198.51.100.7:22'",
            "/198.51.100.7:9092",
            "198.051.100.007",
            "198.051.100.007:80",
            "198.51.100.7%4",
            "198.51.100.7%4:443",
            "::ffff:198.51.100.7",
            "::FFFF:C633:6407",
            "0:0:0:0:0:ffff:198.51.100.7",
            "[::ffff:198.51.100.7]:443",
            "::ffff:198.51.100.7%eth0",
        ] {
            check(text, "198.51.100.7");
        }
        for text in [
            "2001:db8::1",
            "2001:DB8:0:0:0:0:0:1",
            "2001:0db8:0000:0000:0000:0000:0000:0001",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
            "[2001:db8::1%25eth0]:443".replace("%25", "%").as_str(),
            "/[2001:db8::1]:443",
            "2001:db8::1%eth0",
            "2001:db8::1#53",
            "( 2001:db8::1 )",
        ] {
            check(text, "2001:db8::1");
        }
        check("fe80::1ff:fe23:4567:890a%eth0.100", "fe80::1ff:fe23:4567:890a");
        check("fe80::1%3", "fe80::1");
        check("::1", "::1");
        check("::", "::");
        check("0.0.0.0", "0.0.0.0");
        check("010.001.002.003", "10.1.2.3");
        check("2001:db8::1:443", "2001:db8::1:443");
        check("::1.2.3.4", "::102:304");
    }

    #[test]
    fn what_names_no_single_host_is_nothing() {
        for text in [
            "",
            "-",
            " ",
            "localhost",
            "AWS Internal",
            "sts.amazonaws.com",
            "unknown",
            "null",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "300.001.002.003",
            "010.1.2.3",
            "1.2.3.04",
            "0x01020304",
            "0x1.0x2.0x3.0x4",
            "16909060",
            "1.2.3.4/32",
            "1.2.3.4, 5.6.7.8",
            "1.2.3.4 5.6.7.8",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "1.2.3.4:99999",
            "1.2.3.4:+80",
            "1.2.3.4:http",
            "1.2.3.4%",
            "1.2.3.4%a b",
            "[1.2.3.4",
            "1.2.3.4]",
            "[1.2.3.4]443",
            "[]",
            "[]:443",
            ":443",
            "::ffff:1.2.3.4:443",
            "2001:db8:::1",
            "1:2:3:4:5:6:7:8:9",
            "12345::",
            "١.٢.٣.٤",
            "1.2.3.4\u{200b}",
            "00:1a:2b:3c:4d:5e",
        ] {
            check(text, "none");
        }
        check(&"1".repeat(1 << 20), "none");
        check(&format!("[{}", "[".repeat(100)), "none");
    }

    proptest::proptest! {
        #[test]
        fn every_address_reads_back_in_every_dress(bits: u128, port: u16, four: bool) {
            let address = if four { IpAddr::from((bits as u32).to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()).to_canonical() };
            let dresses = [format!("{address}"), format!("[{address}]:{port}"), format!(" {address}%eth0 "), format!("{address}#{port}")];
            for text in dresses {
                proptest::prop_assert_eq!(parse(&text), Some(address));
            }
        }

        #[test]
        fn no_text_panics(text in "[\\[\\](<>)0-9a-fx:.%/# -]{0,40}") {
            parse(&text);
        }
    }
}
