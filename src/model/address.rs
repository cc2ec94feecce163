//! Addresses as logs write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an address with or without port, brackets, zone (`%eth0`), leading zeros or
/// IPv4-mapping (`::ffff:1.2.3.4` is 1.2.3.4). None for anything else, such as `AWS Internal`.
pub fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    // Longer than any address with zone and port: no need to look at it.
    if text.len() > 96 || text.len() < 2 {
        return None;
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (address, after) = inner.split_once(']')?;
        return (after.is_empty() || is_port(after.strip_prefix(':')?)).then(|| version_6(address))?;
    }
    let colons = memchr::memchr_iter(b':', text.as_bytes()).count();
    match colons {
        0 => version_4(text).map(IpAddr::V4),
        1 => {
            let (address, port) = text.split_once(':')?;
            if is_port(port) { version_4(address).map(IpAddr::V4) } else { None }
        }
        _ => version_6(text),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.parse::<u16>().is_ok()
}

fn version_6(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let address: Ipv6Addr = address.parse().ok()?;
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

/// Four decimal numbers. Leading zeros are read as decimal: every log that has them pads, none counts in octal.
fn version_4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|it| it.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    #[test]
    fn forms_seen_in_logs() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1:443 ", "192.0.2.1"),
            ("192.000.002.001", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:5000", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(super::parse(text).map(|it| it.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "-",
            "AWS Internal",
            "x.amazonaws.com",
            "256.0.0.1",
            "192.0.2",
            "192.0.2.1.5",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "192.0.2.1:x",
            "[::1",
            "[::1]x",
            "1:2",
            "0x7f.0.0.1",
            "192.0.2.1/24",
            "é:é:é",
        ] {
            assert_eq!(super::parse(text), None, "{text}");
        }
    }
}
