//! Which networks hold an address.
//!
//! Real lists use few distinct prefix lengths, so one hash lookup for each length in use beats a tree, and costs the same
//! for a network as for a million of them.

use std::net::IpAddr;

use hashbrown::HashMap;

/// An address family (whether IPv4) and a prefix length.
type Length = (bool, u8);

/// Values kept by network.
#[derive(Clone, Debug)]
pub struct Networks<T> {
    lengths: Vec<Length>,
    values: HashMap<(Length, u128), Vec<T>>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Networks { lengths: Vec::new(), values: HashMap::new() }
    }
}

impl<T> Networks<T> {
    pub fn insert(&mut self, address: IpAddr, prefix: u8, value: T) {
        let (is_v4, bits, width) = bits(address);
        let length = (is_v4, prefix.min(width));
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
        }
        self.values.entry((length, bits & mask(length))).or_default().push(value);
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// A guess at how much of all traffic lies inside; 1 at most.
    pub fn share(&self) -> f64 {
        let of = |(is_v4, prefix): Length| match (is_v4, prefix) {
            (true, 24..) | (false, 48..) => 0.01,
            (true, 16..) | (false, 32..) => 0.05,
            (true, _) | (false, _) => 0.3,
        };
        self.values.keys().map(|it| of(it.0)).sum::<f64>().min(1.0)
    }

    /// The networks, in no particular order.
    pub fn each(&self, found: &mut impl FnMut(IpAddr, u8)) {
        for ((is_v4, prefix), bits) in self.values.keys() {
            let address = if *is_v4 { IpAddr::V4((*bits as u32).into()) } else { IpAddr::V6((*bits).into()) };
            found(address, *prefix);
        }
    }

    /// Calls `found` with the values of every network that holds the address.
    pub fn each_holding(&self, address: IpAddr, found: &mut impl FnMut(&T)) {
        let (is_v4, bits, _) = bits(address);
        for length in self.lengths.iter().filter(|it| it.0 == is_v4) {
            if let Some(values) = self.values.get(&(*length, bits & mask(*length))) {
                values.iter().for_each(&mut *found);
            }
        }
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        let mut any = false;
        self.each_holding(address, &mut |_| any = true);
        any
    }
}

fn bits(address: IpAddr) -> (bool, u128, u8) {
    match address {
        IpAddr::V4(it) => (true, u128::from(u32::from(it)), 32),
        IpAddr::V6(it) => (false, u128::from(it), 128),
    }
}

fn mask((is_v4, prefix): Length) -> u128 {
    let (width, all) = if is_v4 { (32, u128::from(u32::MAX)) } else { (128, u128::MAX) };
    match width - u32::from(prefix) {
        128 => 0,
        free => all & (u128::MAX << free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::parse_network;

    #[test]
    fn networks_hold_what_lies_inside() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::ffff:10.0.0.0/104", "10.2.3.4", "11.2.3.4"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let (address, prefix) = parse_network(network).unwrap();
            let mut networks = Networks::default();
            networks.insert(address, prefix, ());
            assert!(networks.holds(inside.parse().unwrap()), "{network} {inside}");
            assert!(!networks.holds(outside.parse().unwrap()), "{network} {outside}");
        }
    }
}
