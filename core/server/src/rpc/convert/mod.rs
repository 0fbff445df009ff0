//! Between the protocol's messages and what goes over the wire. Every message has one form there, and comes back the same.
//!
//! | file | what it converts |
//! | --- | --- |
//! | `mod.rs` | the words that all share |
//! | `clients.rs` | what clients ask, and the answers |
//! | `admin.rs` | what operators ask, and the answers |
//! | `peers.rs` | what nodes say to each other |

mod admin;
mod clients;
mod peers;

use std::sync::Arc;

use curp::{ConfigVersion, Leadership, Membership, Proposal, ProposeId, ReadId, Refusal, Reply, Synced};
use kv::{Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire;
use super::wire::refused;

pub use admin::{admin_reply, admin_response};
pub use clients::*;
pub use peers::*;

/// What came over the wire is no message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing or does not decode")]
pub struct Malformed(&'static str);

type Result<T> = std::result::Result<T, Malformed>;

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // The types are plain data: postcard refuses only what has no length or no fixed shape.
    postcard::to_stdvec(value).expect("plain data has an encoding")
}

fn value<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|_| Malformed(what))
}

fn some<T>(field: Option<T>, what: &'static str) -> Result<T> {
    field.ok_or(Malformed(what))
}

fn id_out(id: ProposeId) -> Option<wire::ProposeId> {
    Some(wire::ProposeId { client: id.client, seq: id.seq })
}

pub(super) fn id_in(id: Option<wire::ProposeId>) -> Result<ProposeId> {
    some(id, "a propose id").map(|id| ProposeId { client: id.client, seq: id.seq })
}

fn config_out(config: ConfigVersion) -> Option<wire::ConfigVersion> {
    Some(wire::ConfigVersion { term: config.term, index: config.index })
}

fn config_in(config: Option<wire::ConfigVersion>) -> Result<ConfigVersion> {
    some(config, "a configuration's version").map(|c| ConfigVersion { term: c.term, index: c.index })
}

fn leadership_out(leadership: Leadership) -> wire::Leadership {
    wire::Leadership { term: leadership.term, leader: leadership.leader }
}

fn leadership_in(leadership: wire::Leadership) -> Leadership {
    Leadership { term: leadership.term, leader: leadership.leader }
}

fn proposal_out(proposal: &Proposal<Request>) -> wire::Proposal {
    let command = bytes(&*proposal.command);
    wire::Proposal { id: id_out(proposal.id), first_incomplete: proposal.first_incomplete, command }
}

fn proposal_in(proposal: wire::Proposal) -> Result<Arc<Proposal<Request>>> {
    let command = Arc::new(value(&proposal.command, "a command")?);
    Ok(Arc::new(Proposal { id: id_in(proposal.id)?, first_incomplete: proposal.first_incomplete, command }))
}

fn read_out(read: ReadId) -> Option<wire::ReadId> {
    Some(wire::ReadId { client: read.0, number: read.1 })
}

fn read_in(read: Option<wire::ReadId>) -> Result<ReadId> {
    some(read, "a read's name").map(|read| (read.client, read.number))
}

fn synced_out(id: ProposeId, synced: &Synced<Response>) -> wire::Synced {
    wire::Synced { id: id_out(id), revision: synced.revision, response: bytes(&synced.response) }
}

fn synced_in(synced: &wire::Synced) -> Result<Reply<Request>> {
    let response = value(&synced.response, "a response")?;
    Ok(Reply::Synced { id: id_in(synced.id)?, synced: Synced { revision: synced.revision, response } })
}

fn refused_out(id: ProposeId, why: Refusal) -> wire::Refused {
    let nothing = wire::Nothing {};
    let why = match why {
        Refusal::NotLeader(leadership) => refused::Why::NotLeader(leadership_out(leadership)),
        Refusal::NotReady => refused::Why::NotReady(nothing),
        Refusal::NoSession => refused::Why::NoSession(nothing),
        Refusal::Acknowledged => refused::Why::Acknowledged(nothing),
        Refusal::Invalid => refused::Why::Invalid(nothing),
    };
    wire::Refused { id: id_out(id), why: Some(why) }
}

fn refused_in(refused: &wire::Refused) -> Result<Reply<Request>> {
    let why = match some(refused.why, "why a proposal was refused")? {
        refused::Why::NotLeader(leadership) => Refusal::NotLeader(leadership_in(leadership)),
        refused::Why::NotReady(_) => Refusal::NotReady,
        refused::Why::NoSession(_) => Refusal::NoSession,
        refused::Why::Acknowledged(_) => Refusal::Acknowledged,
        refused::Why::Invalid(_) => Refusal::Invalid,
    };
    Ok(Reply::Refused { id: id_in(refused.id)?, why })
}

fn membership_out(membership: &Membership) -> wire::Membership {
    wire::Membership {
        version: config_out(membership.version),
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
        addresses: membership.addresses.iter().map(|(node, address)| located_out(*node, address)).collect(),
    }
}

fn membership_in(membership: &wire::Membership) -> Result<Membership> {
    Ok(Membership {
        version: config_in(membership.version)?,
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
        addresses: membership.addresses.iter().map(|place| (place.node, place.address.clone())).collect(),
    })
}

fn located_out(node: u32, address: &str) -> wire::Located {
    wire::Located { node, address: address.to_owned() }
}
