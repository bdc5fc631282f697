//! Bytes in the JSON text of an order: each byte is the character of its number, so that names stay readable, and large
//! contents are only their lengths, for they come behind the text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// No content of an order is longer.
const MOST: usize = 1 << 30;

fn to_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn to_bytes<E: de::Error>(text: &str) -> Result<Vec<u8>, E> {
    text.chars().map(|letter| u8::try_from(letter).map_err(E::custom)).collect()
}

fn of_length<E: de::Error>(length: usize) -> Result<Vec<u8>, E> {
    if length > MOST { Err(E::custom("it is too long")) } else { Ok(vec![0; length]) }
}

pub(in crate::sandbox) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&to_text(bytes))
}

pub(in crate::sandbox) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
    to_bytes(&String::deserialize(from)?)
}

/// A path in an image.
pub(in crate::sandbox) mod path {
    use super::*;
    use crate::layer::EntryPath;

    pub fn serialize<S: Serializer>(path: &EntryPath, to: S) -> Result<S::Ok, S::Error> {
        super::serialize(path.as_bytes(), to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<EntryPath, D::Error> {
        EntryPath::parse(super::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// Paths in an image.
pub(in crate::sandbox) mod paths {
    use super::*;
    use crate::layer::EntryPath;

    pub fn serialize<S: Serializer>(paths: &[EntryPath], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(|path| to_text(path.as_bytes())))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<EntryPath>, D::Error> {
        let paths = Vec::<String>::deserialize(from)?;
        paths.iter().map(|path| EntryPath::parse(to_bytes(path)?).map_err(de::Error::custom)).collect()
    }
}

/// Names and values.
pub(in crate::sandbox) mod pairs {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    pub fn serialize<S: Serializer>(pairs: &[(Vec<u8>, Vec<u8>)], to: S) -> Result<S::Ok, S::Error> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (to_text(name), to_text(value))).collect();
        pairs.serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Pairs, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(from)?;
        pairs.iter().map(|(name, value)| Ok((to_bytes(name)?, to_bytes(value)?))).collect()
    }
}

/// A content, of which only the length is told.
pub(in crate::sandbox) mod length {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        bytes.len().serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        of_length(usize::deserialize(from)?)
    }
}

/// A content that may not be there.
pub(in crate::sandbox) mod maybe_length {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(Vec::len).serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<usize>::deserialize(from)?.map(of_length).transpose()
    }
}
