//! Where members are reached: as the operator's list says, or, for those whose address is in the configuration in force, as that says.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use curp::NodeId;
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Error};

/// A member's address as it stands in a configuration: `CLIENT/PEER`, each host:port, or `PEER` alone where clients have a list of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where clients reach it, if that is said.
    pub client: Option<String>,
    /// Where peers reach it.
    pub peer: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (client, peer) = s.split_once('/').map_or((None, s), |(client, peer)| (Some(client), peer));
        let is_host = |host: &str| !host.is_empty() && !host.contains('/');
        let is_address = |text: &str| text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
        if !is_address(peer) || !client.is_none_or(is_address) {
            return Err(format!("`{s}` is not a member's address; one looks like 10.0.0.4:2379/10.0.0.4:2380, for clients and for peers"));
        }
        Ok(Place { client: client.map(str::to_owned), peer: peer.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = &self.client {
            write!(f, "{client}/")?;
        }
        f.write_str(&self.peer)
    }
}

/// One way to a node, and how many calls on it are under way.
type Way = (Channel, Arc<Semaphore>);

/// The ways to the nodes.
#[derive(Clone)]
pub(super) struct Ways(Arc<Mutex<Known>>);

struct Known {
    calls_max: usize,
    /// The operator's list.
    given: BTreeMap<NodeId, String>,
    /// What is used now.
    ways: BTreeMap<NodeId, (String, Way)>,
}

impl Ways {
    /// The ways to the nodes of this list, with so many calls on each at a time.
    pub(super) fn new(given: &BTreeMap<NodeId, String>, calls_max: usize) -> Result<Self, Error> {
        let mut known = Known { calls_max, given: given.clone(), ways: BTreeMap::new() };
        for (id, address) in given {
            known.set(*id, address)?;
        }
        Ok(Ways(Arc::new(Mutex::new(known))))
    }

    /// The addresses of the configuration in force, of the kind that is used here. Nodes without one are where the list says. The way to a
    /// node that has left stays: it is told that it has.
    pub(super) fn learn(&self, addresses: &BTreeMap<NodeId, String>, kind: impl Fn(Place) -> Option<String>) {
        let mut known = self.lock();
        let mut wanted = known.given.clone();
        for (id, address) in addresses.iter().filter(|(_, address)| !address.is_empty()) {
            match address.parse::<Place>() {
                Ok(place) => wanted.extend(kind(place).map(|address| (*id, address))),
                Err(sentence) => tracing::warn!("node {id} cannot be reached: {sentence}"),
            }
        }
        for (id, address) in wanted {
            if let Err(error) = known.set(id, &address) {
                tracing::warn!("node {id} cannot be reached at {address}: {error}");
            }
        }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<Way> {
        self.lock().ways.get(&id).map(|(_, way)| way.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn set(&mut self, id: NodeId, address: &str) -> Result<(), Error> {
        if self.ways.get(&id).is_none_or(|(known, _)| known != address) {
            let way = (super::connect(address)?, Arc::new(Semaphore::new(self.calls_max)));
            self.ways.insert(id, (address.to_owned(), way));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_for_peers_or_for_both() {
        let both = Place { client: Some("h:1".to_owned()), peer: "[::1]:2".to_owned() };
        assert_eq!("h:1/[::1]:2".parse(), Ok(both.clone()));
        assert_eq!(both.to_string(), "h:1/[::1]:2");
        assert_eq!("10.0.0.4:2380".parse(), Ok(Place { client: None, peer: "10.0.0.4:2380".to_owned() }));
        for other in ["", "h", "h:", ":1", "h:1/", "/h:1", "h:1/h:2/h:3", "h:99999"] {
            assert!(other.parse::<Place>().is_err(), "{other}");
        }
    }
}
