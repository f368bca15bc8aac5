//! Who: nodes, stores, datacenters, zones. Identities are written once and never reused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A node's identity: 128 random bits written on its volume at first start.
///
/// A volume that lost its data is a new node with a new id, so an id never forgets what it voted for or
/// acknowledged. Shown as 32 hexadecimal digits (Redis Cluster wants 40: see [`NodeId::cluster_name`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

/// A store's identity: the uid of its `ReplicatedStore`, or one drawn by `quorate-node dev`.
/// Peers of different stores refuse each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

impl NodeId {
    /// The 40 hexadecimal digits by which Redis Cluster clients know a node.
    #[must_use]
    pub fn cluster_name(self) -> String {
        format!("{:032x}{:08x}", self.0, 0)
    }
}

macro_rules! hex_identity {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({:032x})"), self.0)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            /// Takes 32 hexadecimal digits, dashes ignored, so that a Kubernetes uid can be given as it is.
            fn from_str(text: &str) -> Result<Self, NameError> {
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                if digits.len() != 32 {
                    return Err(NameError::Identity(text.to_owned()));
                }
                u128::from_str_radix(&digits, 16)
                    .map(Self)
                    .map_err(|_| NameError::Identity(text.to_owned()))
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}
hex_identity!(NodeId);
hex_identity!(StoreId);

/// A name that is valid as a DNS label: 1 to 63 of `a-z`, `0-9` and `-`, not beginning or ending with `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A datacenter, as the resource names it.
pub type Datacenter = Name;
/// A zone (failure domain) within a datacenter.
pub type Zone = Name;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{0:?} is not a DNS label: use 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'"
    )]
    Label(String),
    #[error("{0:?} is not an identity: use 32 hexadecimal digits")]
    Identity(String),
}

impl Name {
    /// # Errors
    /// [`NameError::Label`] when `text` is not a DNS label.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let valid = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text)) } else { Err(NameError::Label(text)) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_takes_a_kubernetes_uid() {
        let id: StoreId = "b350de51-0000-4000-8000-00000000002a".parse().unwrap();
        assert_eq!(id.to_string(), "b350de5100004000800000000000002a");
        assert_eq!(id.to_string().parse::<StoreId>().unwrap(), id);
    }

    #[test]
    fn cluster_name_has_forty_digits() {
        assert_eq!(NodeId(7).cluster_name().len(), 40);
    }

    #[test]
    fn name_refuses_what_dns_would() {
        for bad in ["", "-a", "a-", "A", "a_b", &"a".repeat(64)] {
            assert_eq!(Name::new(bad), Err(NameError::Label(bad.to_owned())));
        }
        assert_eq!(Name::new("dc-a").unwrap().as_str(), "dc-a");
    }
}
