//! Values from the tree that a file was read for.
//!
//! RON spends three hundred instructions on a byte, which for the built-in files was half of what a short run costs. Where
//! everything stands is known from [`tree`](super::tree) already, so values of the plainest form are taken from there. What is
//! not is left to RON, which also says what is wrong with it: this reader takes less than RON does, and the same of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Body, Item, Node};
use crate::model::text_or_name;

/// The value of a node of that text. None: ask RON.
pub fn read<T: DeserializeOwned>(text: &str, node: &Node) -> Option<T> {
    T::deserialize(Written { text, node }).ok()
}

#[derive(Clone, Copy)]
struct Written<'t> {
    text: &'t str,
    node: &'t Node,
}

/// Not of the plainest form, or wrong.
#[derive(Debug)]
struct AskRon;

impl fmt::Display for AskRon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only RON can tell")
    }
}

impl std::error::Error for AskRon {}

impl de::Error for AskRon {
    fn custom<T: fmt::Display>(_: T) -> AskRon {
        AskRon
    }
}

impl<'t> Written<'t> {
    fn name(self) -> Option<&'t str> {
        self.node.name(self.text)
    }

    fn literal(self) -> &'t str {
        &self.text[self.node.span.clone()]
    }

    fn number<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        let text = self.literal();
        let digits = |it: &str| (1..=18).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        if let Some((whole, part)) = unsigned.split_once('.') {
            let plain = digits(whole) && digits(part);
            return if plain { visitor.visit_f64(text.parse().map_err(|_| AskRon)?) } else { Err(AskRon) };
        }
        if !digits(unsigned) || unsigned.len() > 1 && unsigned.starts_with('0') {
            return Err(AskRon);
        }
        match unsigned.len() == text.len() {
            true => visitor.visit_u64(text.parse().map_err(|_| AskRon)?),
            false => visitor.visit_i64(text.parse().map_err(|_| AskRon)?),
        }
    }

    /// Visits the parts of a bracket, all of them.
    fn list<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        let mut parts = self.parts();
        let value = visitor.visit_seq(&mut parts)?;
        parts.items.next().map_or(Ok(value), |_| Err(AskRon))
    }

    fn map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        let mut parts = self.parts();
        let value = visitor.visit_map(&mut parts)?;
        parts.items.next().map_or(Ok(value), |_| Err(AskRon))
    }

    /// `(key: value)`, with nothing in the brackets where all have defaults.
    fn fields<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        match &self.node.body {
            Body::Struct(_) => self.map(visitor),
            Body::Tuple(items) if items.is_empty() => self.map(visitor),
            _ => Err(AskRon),
        }
    }

    fn parts(self) -> Parts<'t> {
        let is_map = matches!(self.node.body, Body::Map(_));
        Parts { text: self.text, items: self.node.items().iter(), is_map, value: None }
    }
}

/// What a text literal of a usual form says.
fn content(literal: &str) -> Option<Cow<'_, str>> {
    if let Some(inner) = literal.strip_prefix('"') {
        return Some(match literal.contains('\\') {
            true => ron::from_str::<String>(literal).ok()?.into(),
            false => inner.strip_suffix('"')?.into(),
        });
    }
    let (open, rest) = literal.strip_prefix('r')?.split_once('"')?;
    Some(rest.strip_suffix(open)?.strip_suffix('"')?.into())
}

fn visit_text<'t, V: Visitor<'t>>(literal: &'t str, visitor: V) -> Result<V::Value, AskRon> {
    match content(literal) {
        Some(Cow::Borrowed(it)) => visitor.visit_borrowed_str(it),
        Some(Cow::Owned(it)) => visitor.visit_string(it),
        None => Err(AskRon),
    }
}

impl<'t> de::Deserializer<'t> for Written<'t> {
    type Error = AskRon;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        match &self.node.body {
            Body::Text => visit_text(self.literal(), visitor),
            Body::Number => self.number(visitor),
            Body::Word if self.literal() == "true" => visitor.visit_bool(true),
            Body::Word if self.literal() == "false" => visitor.visit_bool(false),
            Body::List(_) => self.list(visitor),
            Body::Map(_) => self.map(visitor),
            Body::Word | Body::Char | Body::Struct(_) | Body::Tuple(_) => Err(AskRon),
        }
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        match (self.name(), &self.node.body) {
            (Some("None"), Body::Word) => visitor.visit_none(),
            (Some("None" | "Some"), _) => Err(AskRon),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AskRon> {
        if self.name().is_none_or(|it| it == name) { self.fields(visitor) } else { Err(AskRon) }
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AskRon> {
        if self.name().is_some() { visitor.visit_enum(self) } else { Err(AskRon) }
    }

    fn deserialize_tuple<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, AskRon> {
        match (&self.node.name, &self.node.body) {
            (None, Body::Tuple(_)) => self.list(visitor),
            _ => Err(AskRon),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, name: &'static str, visitor: V) -> Result<V::Value, AskRon> {
        match &self.node.body {
            Body::Text if name == text_or_name::RAW => visitor.visit_newtype_struct(self),
            Body::Tuple(_) if name == text_or_name::RAW => visitor.visit_enum(self),
            _ => Err(AskRon),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'t>>(self, _: &'static str, _: usize, _: V) -> Result<V::Value, AskRon> {
        Err(AskRon)
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, _: V) -> Result<V::Value, AskRon> {
        Err(AskRon)
    }

    forward_to_deserialize_any! {
        <V: Visitor<'t>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq map
        identifier
    }
}

impl<'t> de::EnumAccess<'t> for Written<'t> {
    type Error = AskRon;
    type Variant = Written<'t>;

    fn variant_seed<S: DeserializeSeed<'t>>(self, seed: S) -> Result<(S::Value, Written<'t>), AskRon> {
        let name = self.name().ok_or(AskRon)?;
        Ok((seed.deserialize(BorrowedStrDeserializer::<AskRon>::new(name))?, self))
    }
}

impl<'t> de::VariantAccess<'t> for Written<'t> {
    type Error = AskRon;

    fn unit_variant(self) -> Result<(), AskRon> {
        if self.node.body == Body::Word { Ok(()) } else { Err(AskRon) }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'t>>(self, seed: S) -> Result<S::Value, AskRon> {
        match &self.node.body {
            Body::Tuple(items) if items.len() == 1 => {
                seed.deserialize(Written { text: self.text, node: &items[0].value })
            }
            _ => Err(AskRon),
        }
    }

    fn tuple_variant<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, AskRon> {
        if matches!(self.node.body, Body::Tuple(_)) { self.list(visitor) } else { Err(AskRon) }
    }

    fn struct_variant<V: Visitor<'t>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, AskRon> {
        self.fields(visitor)
    }
}

/// The parts of a bracket, one after the other.
struct Parts<'t> {
    text: &'t str,
    items: std::slice::Iter<'t, Item>,
    /// Keys are texts, and not names.
    is_map: bool,
    /// Of the key that was read last.
    value: Option<&'t Node>,
}

impl<'t> de::SeqAccess<'t> for &mut Parts<'t> {
    type Error = AskRon;

    fn next_element_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<Option<S::Value>, AskRon> {
        let text = self.text;
        self.items.next().map(|it| seed.deserialize(Written { text, node: &it.value })).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

impl<'t> de::MapAccess<'t> for &mut Parts<'t> {
    type Error = AskRon;

    fn next_key_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<Option<S::Value>, AskRon> {
        let Some(item) = self.items.next() else { return Ok(None) };
        self.value = Some(&item.value);
        let key = &self.text[item.key.clone().ok_or(AskRon)?];
        if self.is_map != key.contains('"') {
            return Err(AskRon);
        }
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<S::Value, AskRon> {
        let node = self.value.take().ok_or(AskRon)?;
        seed.deserialize(Written { text: self.text, node })
    }
}

/// The name of a field, or the text that is a map's key.
struct Key<'t>(&'t str);

impl<'t> de::Deserializer<'t> for Key<'t> {
    type Error = AskRon;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, AskRon> {
        match self.0.contains('"') {
            true => visit_text(self.0, visitor),
            false if self.0.contains('#') => Err(AskRon),
            false => visitor.visit_borrowed_str(self.0),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'t>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::rule::file::Rule;
    use crate::rule::load::{BUILTIN, options};
    use crate::rule::tree;
    use crate::schema::file::Schema;

    /// Whether the reader takes it; and if so, whether RON says the same.
    fn as_ron_says<T: DeserializeOwned + Debug>(text: &str, node: &Node) -> bool {
        let Some(ours) = read::<T>(text, node) else { return false };
        let theirs: Result<T, _> = options().from_str(&text[node.span.clone()]);
        assert_eq!(format!("{ours:?}"), format!("{:?}", theirs.unwrap()), "{text}");
        true
    }

    fn one_says(text: &str, node: &Node) -> bool {
        match node.name(text) {
            Some("Rule") => as_ron_says::<Rule>(text, node),
            Some("Schema") => as_ron_says::<Schema>(text, node),
            _ => false,
        }
    }

    #[test]
    fn what_is_built_in_needs_no_ron_and_means_the_same() {
        for (name, text) in BUILTIN {
            let root = tree::parse(text).ok().flatten().expect("it says something");
            let values: Vec<&Node> = match &root.body {
                Body::List(items) => items.iter().map(|it| &it.value).collect(),
                _ => vec![&root],
            };
            assert!(values.iter().all(|it| one_says(text, it)), "{name} is left to RON");
        }
    }

    #[test]
    fn keys_of_maps_are_texts() {
        let schema = |key: &str| {
            let text = format!(
                "Schema(id: \"a.b\", title: \"t\", examples: [], recognise: Exists(\"c\"), action: \"c\", fields: {{{key}: \"c\"}})"
            );
            tree::parse(&text).is_ok_and(|root| one_says(&text, &root.unwrap()))
        };
        assert!(schema("\"user.name\"") && !schema("user"));
    }

    #[test]
    fn forms_of_values() {
        let rule = |rest: &str| {
            let text = format!("Rule(id: \"a\", title: \"t\", severity: Low, by: [], detect: Each, {rest})");
            tree::parse(&text).is_ok_and(|root| one_says(&text, &root.unwrap()))
        };
        for taken in [
            "",
            "enabled: false",
            "when: All([Lt(\"a\", 5), Gt(\"a\", -5), Le(\"a\", 0.5), Ge(\"a\", -10.25)])",
            "when: OneOf(\"a\", [1, -1, 1.5, true, \"x\"])",
            "when: Any([Eq(\"a\\\"b\\n\\u{e9}\", \"\"), Eq(r\"a\\b\", r#\"a\"b\"#)])",
            "when: Cidr(\"a\", \"10.0.0.0/8\") /* why */, // because\n",
            "when: Cidr(\"a\", [\"10.0.0.0/8\", \"::1\"])",
            "tags: []",
        ] {
            assert!(rule(taken), "{taken}");
        }
        for left in [
            "enabled: False",
            "when: Lt(\"a\", 1e3)",
            "when: Eq(\"a\", 0x10)",
            "when: Eq(\"a\", 007)",
            "when: Eq(\"a\", 9999999999999999999)",
            "when: Eq(\"a\", 'c')",
            "when: Eq(\"a\", b\"c\")",
            "when: Eq(\"a\", \"b\", \"c\")",
            "when: Eq(\"a\")",
            "when: All((Exists(\"a\")))",
            "when: All",
            "when: (Exists(\"a\"))",
            "when: Matches(\"a\", \"(\")",
            "tags: (\"a\")",
            "tags: {\"a\": 1}",
            "r#tags: []",
            "tags: [], tags: []",
            "other: 1",
        ] {
            assert!(!rule(left), "{left}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]
        #[test]
        fn it_takes_no_more_than_ron(
            file in 0usize..BUILTIN.len(),
            at in 0usize..4000,
            remove in 0usize..12,
            insert in "[-a-zA-Z0-9.,:()\\[\\]{}\"#\\\\ r\n]{0,4}",
        ) {
            let mut text = BUILTIN[file].1.to_string();
            let from = (0..=at % text.len()).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
            let to = (from..=(from + remove).min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(from);
            text.replace_range(from..to, &insert);
            if let Ok(Some(root)) = tree::parse(&text) {
                one_says(&text, &root);
            }
        }
    }
}
