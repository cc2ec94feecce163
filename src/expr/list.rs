//! Lists of the configuration: names, addresses and networks, one a line.

use std::collections::HashSet;
use std::net::IpAddr;

use super::network::Networks;
use super::parse_network;
use super::plain::fold;
use crate::model::address;

/// A list as loaded. Reloading makes a new one.
#[derive(Clone, Debug, Default)]
pub struct List {
    names: HashSet<Box<str>>,
    folded: HashSet<Box<str>>,
    addresses: HashSet<IpAddr>,
    networks: Networks<()>,
}

impl List {
    /// One entry a line; empty lines and what follows `#` at a line's start or after white space are left out.
    pub fn parse(text: &str) -> List {
        let mut list = List::default();
        for line in text.lines() {
            let end = line.match_indices('#').find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', '\t']));
            let entry = line[..end.map_or(line.len(), |(at, _)| at)].trim();
            if !entry.is_empty() {
                list.add(entry);
            }
        }
        list
    }

    fn add(&mut self, entry: &str) {
        if let Some(address) = address::parse(entry) {
            self.addresses.insert(address);
        } else if let Some((address, prefix)) = parse_network(entry) {
            self.networks.insert(address, prefix, ());
        }
        self.names.insert(entry.into());
        self.folded.insert(fold(entry).into());
    }

    /// What the list holds, as written; sorted.
    pub fn entries(&self) -> Vec<&str> {
        let mut entries: Vec<&str> = self.names.iter().map(AsRef::as_ref).collect();
        entries.sort_unstable();
        entries
    }

    /// Whether the text is a name of the list as it stands, or an address the list holds or has a network for.
    pub fn has(&self, text: &str) -> bool {
        self.names.contains(text) || self.has_address(text)
    }

    /// The same without case.
    pub fn has_folded(&self, text: &str) -> bool {
        self.folded.contains(fold(text).as_ref()) || self.has_address(text)
    }

    fn has_address(&self, text: &str) -> bool {
        if self.addresses.is_empty() && self.networks.is_empty() {
            return false;
        }
        address::parse(text).is_some_and(|it| self.addresses.contains(&it) || self.networks.holds(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_networks() {
        let list = List::parse("# offices\nAnn\n192.0.2.7 # door\n198.51.100.0/24\n2001:db8::/32\nroom#3\n\n");
        for (text, exact, folded) in [
            ("Ann", true, true),
            ("ann", false, true),
            ("192.0.2.7:22", true, true),
            ("::ffff:198.51.100.9", true, true),
            ("2001:db8:1::1", true, true),
            ("room#3", true, true),
            ("192.0.2.8", false, false),
            ("offices", false, false),
            ("", false, false),
        ] {
            assert_eq!((list.has(text), list.has_folded(text)), (exact, folded), "{text}");
        }
    }
}
