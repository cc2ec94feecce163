//! A rule's condition over numbered leaves.

/// `All`, `Any` and `Not` as written; leaves by number.
#[derive(Debug)]
pub enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Leaf(u32),
}

impl Node {
    /// Whether it holds, when `leaf` says which leaves do. Asks no more leaves than it must.
    pub fn holds(&self, leaf: &mut impl FnMut(u32) -> bool) -> bool {
        match self {
            Node::All(parts) => {
                for part in parts {
                    if !part.holds(leaf) {
                        return false;
                    }
                }
                true
            }
            Node::Any(parts) => {
                for part in parts {
                    if part.holds(leaf) {
                        return true;
                    }
                }
                false
            }
            Node::Not(part) => !part.holds(leaf),
            Node::Leaf(it) => leaf(*it),
        }
    }

    /// Whether it holds, when `leaf` does not know of all leaves whether they do; None when that depends on them.
    pub fn could_hold(&self, leaf: &mut impl FnMut(u32) -> Option<bool>) -> Option<bool> {
        let mut all_of = |parts: &[Node], settled: bool| {
            let mut whole = Some(!settled);
            for part in parts {
                match part.could_hold(leaf) {
                    Some(it) if it == settled => return Some(settled),
                    Some(_) => {}
                    None => whole = None,
                }
            }
            whole
        };
        match self {
            Node::All(parts) => all_of(parts, false),
            Node::Any(parts) => all_of(parts, true),
            Node::Not(part) => part.could_hold(leaf).map(|it| !it),
            Node::Leaf(it) => leaf(*it),
        }
    }

    pub fn each_leaf(&self, seen: &mut impl FnMut(u32)) {
        match self {
            Node::All(parts) | Node::Any(parts) => {
                for part in parts {
                    part.each_leaf(seen);
                }
            }
            Node::Not(part) => part.each_leaf(seen),
            Node::Leaf(it) => seen(*it),
        }
    }

    /// Puts cheap parts before dear ones, and says what the whole costs.
    pub fn order(&mut self, price: &impl Fn(u32) -> u32) -> u32 {
        match self {
            Node::All(parts) | Node::Any(parts) => {
                let mut priced: Vec<(u32, Node)> =
                    std::mem::take(parts).into_iter().map(|mut it| (it.order(price), it)).collect();
                priced.sort_by_key(|it| it.0);
                let whole = priced.iter().map(|it| it.0).fold(0, u32::saturating_add);
                parts.extend(priced.into_iter().map(|it| it.1));
                whole
            }
            Node::Not(part) => part.order(price),
            Node::Leaf(it) => price(*it),
        }
    }
}
