//! Mappings in which no key may stand twice.
//!
//! The YAML reader keeps the last of two equal keys, silently; two blocks for one issuer would then
//! be a matter of luck. So every mapping of ours is read through [`Mapping`]. An error raised while a
//! key or a value is read gets the line and path of that key or value from the reader itself.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// One level of the configuration: what to do with each key, and what it all comes to.
pub(super) trait Level: Sized {
    /// What the mapping becomes.
    type Out;

    /// The spelling under which keys are compared.
    fn spelling(key: &str) -> String {
        key.to_owned()
    }

    /// Takes one key. `access` gives its value, which must be taken.
    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error>;

    /// Checks the whole.
    fn finish(self) -> Result<Self::Out, String>;
}

/// Reads a mapping, or nothing where it could stand, into a level.
pub(super) struct Mapping<L>(pub(super) L);

impl<'de, L: Level> DeserializeSeed<'de> for Mapping<L> {
    type Value = L::Out;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<L::Out, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, L: Level> Visitor<'de> for Mapping<L> {
    type Value = L::Out;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<L::Out, E> {
        self.0.finish().map_err(E::custom)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<L::Out, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<L::Out, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<L::Out, A::Error> {
        let Self(mut level) = self;
        let mut seen = Vec::new();
        while let Some(key) = access.next_key_seed(UniqueKey::<L>(&mut seen, PhantomData))? {
            level.entry(key, &mut access)?;
        }
        level.finish().map_err(A::Error::custom)
    }
}

struct UniqueKey<'s, L>(&'s mut Vec<String>, PhantomData<L>);

impl<'de, L: Level> DeserializeSeed<'de> for UniqueKey<'_, L> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<L: Level> Visitor<'_> for UniqueKey<'_, L> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if key == "<<" {
            return Err(E::custom("merge keys (`<<`) are not supported"));
        }
        let spelling = L::spelling(key);
        if self.0.contains(&spelling) {
            return Err(E::custom(format!("the key {key:?} stands here twice")));
        }
        self.0.push(spelling);
        Ok(key.to_owned())
    }
}

/// A text that is parsed where it stands, so that what is wrong with it has its line. Nothing counts
/// as an empty text.
pub(super) struct Parsed<F>(pub(super) F);

impl<'de, T, F: FnOnce(&str) -> Result<T, String>> DeserializeSeed<'de> for Parsed<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> Result<T, String>> Visitor<'de> for Parsed<F> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<T, E> {
        self.visit_str("")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        self.visit_str("")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}
