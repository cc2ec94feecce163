//! The named lists of a configuration.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::expr::list::List;
use crate::limits;

/// Lists by name. Rules are compiled against it; a list loaded anew means compiling anew.
#[derive(Clone, Default, Debug)]
pub struct Lists {
    by_name: HashMap<Box<str>, Arc<List>>,
}

impl Lists {
    /// Adds the list in `text` (one entry a line), or puts it in the place of the one of that name.
    pub fn insert(&mut self, name: &str, text: &str) -> Result<(), String> {
        for (index, line) in text.lines().enumerate() {
            if index == limits::LIST_ENTRIES_MAX {
                return Err(format!("the list `{name}` has more than {} lines", limits::LIST_ENTRIES_MAX));
            }
            if line.len() > limits::VALUE_BYTES_MAX {
                let (line, most) = (index + 1, limits::VALUE_BYTES_MAX);
                return Err(format!("the list `{name}` has more than {most} bytes in line {line}"));
            }
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.by_name.insert(name.into(), Arc::new(List::parse(text)));
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<Arc<List>> {
        self.by_name.get(name).cloned()
    }

    /// The names of the lists, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_found_by_name_and_bounded() {
        let mut lists = Lists::default();
        lists.insert("offices", "\u{feff}10.0.0.0/8 # all\r\nAnn\r\n").unwrap();
        assert_eq!(lists.names(), ["offices"]);
        let offices = lists.get("offices").unwrap();
        assert!(offices.has("10.1.2.3:443") && offices.has("Ann") && !offices.has("ann") && offices.has_folded("ANN"));
        assert!(lists.get("none").is_none());
        let endless = format!("short\n{}", "x".repeat(limits::VALUE_BYTES_MAX + 1));
        assert_eq!(lists.insert("x", &endless).unwrap_err(), "the list `x` has more than 4096 bytes in line 2");
        assert!(lists.insert("x", &"\n".repeat(limits::LIST_ENTRIES_MAX + 1)).is_err());
    }
}
