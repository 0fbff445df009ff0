//! Requests and responses, in the words of etcd's API. They are what clients send, what the log holds, and what histories record.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// A key or a value: any bytes, cheap to clone. In JSON and TOML it is a string where it is UTF-8, else `hex:` and its digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Arc<[u8]>);

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Bytes {
    fn from(s: &str) -> Self {
        Bytes(s.as_bytes().into())
    }
}

impl From<String> for Bytes {
    fn from(s: String) -> Self {
        Bytes(s.into_bytes().into())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(bytes.into())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(s) if !s.starts_with("hex:") => f.write_str(s),
            _ => {
                f.write_str("hex:")?;
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            struct Raw;
            impl serde::de::Visitor<'_> for Raw {
                type Value = Bytes;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                    Ok(Bytes(bytes.into()))
                }
            }
            return deserializer.deserialize_bytes(Raw);
        }
        let s = String::deserialize(deserializer)?;
        let Some(digits) = s.strip_prefix("hex:") else { return Ok(s.into()) };
        let wrong = || serde::de::Error::custom(format!("`{s}` is not hex: and an even number of hexadecimal digits"));
        if digits.len() % 2 != 0 || !digits.is_ascii() {
            return Err(wrong());
        }
        let bytes = (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16)).collect::<Result<Vec<u8>, _>>();
        bytes.map(Bytes::from).map_err(|_| wrong())
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Writes one key.
    Put(PutRequest),
    /// Reads a key or a range of keys.
    Range(RangeRequest),
    /// Deletes a key or a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Compares, then does one of two lists of requests, atomically. Not nested yet.
    Txn(TxnRequest),
}

/// Put.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Whether to return what the key held before.
    #[serde(default)]
    pub prev_kv: bool,
}

/// Range: the keys from `key` up to, not including, `range_end`; the one key without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// First key.
    pub key: Bytes,
    /// The end, exclusive. `None`: the one key. One zero byte (`"\0"`): every key from `key` on, as in etcd.
    #[serde(default)]
    pub range_end: Option<Bytes>,
    /// The most pairs to return; 0 is no limit. `count` does not heed it.
    #[serde(default)]
    pub limit: u64,
}

/// Delete the keys from `key` up to, not including, `range_end`; the one key without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    /// First key.
    pub key: Bytes,
    /// The end, exclusive. `None`: the one key. One zero byte (`"\0"`): every key from `key` on, as in etcd.
    #[serde(default)]
    pub range_end: Option<Bytes>,
    /// Whether to return what was deleted.
    #[serde(default)]
    pub prev_kv: bool,
}

/// If every compare holds, `success`, else `failure`; one revision for all of it. Requests in a branch see the earlier ones' effects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxnRequest {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// Done if they do.
    pub success: Vec<Request>,
    /// Done if one does not.
    #[serde(default)]
    pub failure: Vec<Request>,
}

/// One comparison of a key's state with a constant. A missing key has versions and revisions 0 and no value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// How.
    pub result: CompareResult,
    /// With what.
    pub target: CompareTarget,
}

/// How to compare: the key's own value stands left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareResult {
    /// =
    Equal,
    /// ≠
    NotEqual,
    /// >
    Greater,
    /// <
    Less,
}

/// What is compared, with the constant to compare it with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareTarget {
    /// Number of writes since the key was created.
    Version(u64),
    /// Revision that created it.
    CreateRevision(u64),
    /// Revision that last wrote it.
    ModRevision(u64),
    /// Its value; a missing key compares false, whatever the comparison (as in etcd).
    Value(Bytes),
}

/// A key with its value and revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision that created it.
    pub create_revision: u64,
    /// Revision that last wrote it.
    pub mod_revision: u64,
    /// Writes since it was created; the first has 1.
    pub version: u64,
}

/// A response. The header's revision stands apart, in [`curp::Synced`]: a fast answer has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Of a put.
    Put {
        /// What the key held before, if asked for.
        prev_kv: Option<KeyValue>,
    },
    /// Of a range.
    Range {
        /// The pairs, in key order, up to the limit.
        kvs: Vec<KeyValue>,
        /// Number of pairs in the range.
        count: u64,
    },
    /// Of a delete.
    DeleteRange {
        /// How many keys were deleted.
        deleted: u64,
        /// What they held, if asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// Of a txn.
    Txn {
        /// Whether the compares held.
        succeeded: bool,
        /// The responses of the branch taken.
        responses: Vec<Response>,
    },
}
