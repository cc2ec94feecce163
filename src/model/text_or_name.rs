//! Values that files write as a text or by name: `"user.name"` or `Exact("user.name")`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::EnumAccessDeserializer;
use serde::{Deserialize, Deserializer, de};

/// A type that is written in one of these two ways.
pub trait TextOrName: Sized {
    /// What a text alone means.
    fn of_text(text: String) -> Self;

    /// Reads it where it is written by name.
    ///
    /// # Errors
    /// There is no such name, or what it holds is wrong.
    fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// What RON knows raw text by. Readers that keep names where anything may stand visit a text as a newtype and a name as an
/// enum when they are asked for this.
pub const RAW: &str = "$ron::private::RawValue";

/// Reads either.
///
/// # Errors
/// It is neither, or what it holds is wrong.
pub fn deserialize<'de, T: TextOrName, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = match deserializer.deserialize_newtype_struct(RAW, Either(PhantomData))? {
        Found::Value(value) => return Ok(value),
        Found::Raw(text) => text,
    };
    // RON forgets a name where anything may stand, so we look at the raw text first.
    let text = text.trim();
    let read = || {
        if text.starts_with('"') || text.starts_with("r\"") || text.starts_with("r#") {
            return ron::from_str(text).map(T::of_text).map_err(|it| it.code);
        }
        let mut inner = ron::Deserializer::from_str(text).map_err(|it| it.code)?;
        let value = T::by_name(&mut inner)?;
        inner.end().map(|()| value)
    };
    read().map_err(de::Error::custom)
}

enum Found<T> {
    Raw(String),
    Value(T),
}

struct Either<T>(PhantomData<T>);

impl<'de, T: TextOrName> de::Visitor<'de> for Either<T> {
    type Value = Found<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a name")
    }

    fn visit_str<E: de::Error>(self, raw: &str) -> Result<Found<T>, E> {
        Ok(Found::Raw(raw.to_string()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, text: D) -> Result<Found<T>, D::Error> {
        String::deserialize(text).map(T::of_text).map(Found::Value)
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, access: A) -> Result<Found<T>, A::Error> {
        T::by_name(EnumAccessDeserializer::new(access)).map(Found::Value)
    }
}
