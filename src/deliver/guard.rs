//! Where a message may go.
//!
//! Addresses of receivers are configuration, but names are resolved by a DNS that strangers may own, and a "webhook" that
//! reaches the metadata service of a cloud or a database on loopback is an attack. Checking the text of an address is not
//! enough: `0x7f.1`, `2130706433`, `[::ffff:127.0.0.1]` and `localtest.me` are all this machine. So we judge the binary
//! address, after resolution and immediately before the connection, and connect to exactly what was judged. Only what is
//! routed on the public internet passes; everything else must be listed by the operator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of `allow_destinations`: `127.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// None where the text is no address, or the length does not fit.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u32>().ok()?)),
            None => (text.trim().parse::<IpAddr>().ok()?, None),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Network { address, bits })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(it)) => {
                same_prefix(u32::from(net).into(), u32::from(it).into(), 32, self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(it)) => same_prefix(net.into(), it.into(), 128, self.bits),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, width: u32, bits: u32) -> bool {
    bits == 0 || (a ^ b) >> (width - bits) == 0
}

/// Why nothing may be sent to that address; None where it may.
pub fn refusal(address: IpAddr, allowed: &[Network]) -> Option<String> {
    let kind = kind(address)?;
    // An IPv4 address in IPv6 clothes is reached over IPv4, so a listed IPv4 network speaks for it as well.
    let bare = address.to_canonical();
    if allowed.iter().any(|it| it.contains(address) || it.contains(bare)) {
        return None;
    }
    Some(format!("{address} is {kind}; list its network in `allow_destinations` to send there"))
}

/// What kind of address it is, if it is not a public one.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(it) => kind_v4(it),
        IpAddr::V6(it) => kind_v6(it),
    }
}

/// The blocks of the IANA special-purpose registry that are not globally reachable, and multicast.
fn kind_v4(it: Ipv4Addr) -> Option<&'static str> {
    match it.octets() {
        [0, ..] => Some("an address of this network (0.0.0.0/8)"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("carrier-grade NAT"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local"),
        [192, 0, 0, _] => Some("reserved for protocols"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("for documentation"),
        [192, 88, 99, _] => Some("a 6to4 relay"),
        [198, 18..=19, ..] => Some("for benchmarks"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

/// Only 2000::/3 is handed out to the public internet, and parts of that are tunnels to IPv4 or special.
fn kind_v6(it: Ipv6Addr) -> Option<&'static str> {
    let s = it.segments();
    if it.is_loopback() {
        return Some("loopback");
    }
    if it.to_ipv4_mapped().is_some() {
        return Some("an IPv4 address written as IPv6");
    }
    match (s[0], s[1]) {
        (0x64, 0xff9b) => Some("NAT64"),
        (0xfc00..=0xfdff, _) => Some("private"),
        (0xfe80..=0xfebf, _) => Some("link-local"),
        (0xfec0..=0xfeff, _) => Some("site-local"),
        (0xff00..=0xffff, _) => Some("multicast"),
        (0x2001, 0) => Some("a Teredo tunnel"),
        (0x2001, 0x1..=0x1ff) => Some("reserved for protocols"),
        (0x2001, 0xdb8) | (0x3fff, 0..=0xfff) => Some("for documentation"),
        (0x2002, _) => Some("a 6to4 tunnel"),
        (0x2000..=0x3fff, _) => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, allowed: &[&str], expected: &str) {
        let allowed: Vec<Network> = allowed.iter().map(|it| Network::parse(it).unwrap()).collect();
        let found = refusal(address.parse().unwrap(), &allowed).unwrap_or_else(|| "goes".into());
        assert!(found.contains(expected), "{address}: {found}");
    }

    #[test]
    fn only_public_addresses_pass() {
        for public in ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111"] {
            check(public, &[], "goes");
        }
        for (address, kind) in [
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("0.0.0.0", "this network"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "carrier"),
            ("169.254.169.254", "link-local"),
            ("198.18.0.1", "benchmarks"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::", "reserved"),
            ("::1", "loopback"),
            ("::127.0.0.1", "reserved"),
            ("::ffff:127.0.0.1", "written as IPv6"),
            ("::ffff:8.8.8.8", "written as IPv6"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b:1::7f00:1", "NAT64"),
            ("2002:7f00:1::", "6to4"),
            ("2001:0:1::", "Teredo"),
            ("fd00:ec2::254", "private"),
            ("fe80::1", "link-local"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "documentation"),
            ("4000::1", "reserved"),
        ] {
            check(address, &[], kind);
        }
    }

    #[test]
    fn what_is_listed_passes() {
        check("127.0.0.1", &["127.0.0.0/8"], "goes");
        check("127.0.0.1", &["127.0.0.1"], "goes");
        check("127.0.0.2", &["127.0.0.1"], "loopback");
        check("::ffff:127.0.0.1", &["127.0.0.0/8"], "goes");
        check("::1", &["127.0.0.0/8"], "loopback");
        check("::1", &["::1/128"], "goes");
        check("10.0.0.1", &["0.0.0.0/0"], "goes");
        check("fd00::1", &["::/0"], "goes");
        for bad in ["", "10.0.0.0/33", "::/129", "10/8", "localhost", "10.0.0.0/-1", "10.0.0.0/"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
