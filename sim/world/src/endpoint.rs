//! Who can send and receive: nodes and clients, both counted from 1. In text they are `n3` and `c2`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A sender or receiver of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A replica, by its node id; the first is 1.
    Node(u32),
    /// A client process; the first is 1.
    Client(u32),
}

impl Endpoint {
    /// A number that no other endpoint has and that does not depend on how many there are: links are drawn from it.
    pub(crate) fn code(self) -> u64 {
        match self {
            Endpoint::Node(n) => u64::from(n),
            Endpoint::Client(c) => 1 << 31 | u64::from(c),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Node(n) => write!(f, "n{n}"),
            Endpoint::Client(c) => write!(f, "c{c}"),
        }
    }
}

/// The text names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError(String);

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is neither a node like n1 nor a client like c1", self.0)
    }
}

impl std::error::Error for EndpointError {}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(s: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError(s.to_owned());
        let number = |digits: &str| match digits.parse::<u32>() {
            Ok(n) if n > 0 && n < 1 << 31 && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') => Ok(n),
            _ => Err(wrong()),
        };
        match (s.strip_prefix('n'), s.strip_prefix('c')) {
            (Some(digits), _) => Ok(Endpoint::Node(number(digits)?)),
            (_, Some(digits)) => Ok(Endpoint::Client(number(digits)?)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_nonsense_is_refused() {
        for e in [Endpoint::Node(1), Endpoint::Client(12)] {
            assert_eq!(e.to_string().parse(), Ok(e));
        }
        for bad in ["", "n", "n0", "c+1", "x3", "3", "n01", "n9999999999"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
