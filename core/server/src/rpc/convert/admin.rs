//! What operators ask, and the answers.

use curp::{Admin, AdminDone, AdminRefusal, ConfigChange, Reply};
use kv::Request;

use super::super::wire::{self, admin_refused as refused, admin_request as asked, admin_response as done, config_change as changed};
use super::*;

pub(super) fn wish_out(wish: &Admin) -> asked::Wish {
    match wish {
        Admin::ChangeMembership { base, change } => {
            let change = match change {
                ConfigChange::AddLearner { node, address } => changed::Change::AddLearner(located_out(*node, address)),
                ConfigChange::Promote { node } => changed::Change::Promote(*node),
                ConfigChange::Remove { node } => changed::Change::Remove(*node),
                ConfigChange::Update { node, address } => changed::Change::Update(located_out(*node, address)),
            };
            let change = Some(wire::ConfigChange { change: Some(change) });
            asked::Wish::ChangeMembership(wire::ChangeMembership { base: config_out(*base), change })
        }
        Admin::MoveLeader { to } => asked::Wish::MoveLeader(*to),
        Admin::Shutdown => asked::Wish::Shutdown(wire::Nothing {}),
        Admin::TakeSnapshot => asked::Wish::TakeSnapshot(wire::Nothing {}),
    }
}

pub(super) fn wish_in(wish: asked::Wish) -> Result<Admin> {
    Ok(match wish {
        asked::Wish::ChangeMembership(wire::ChangeMembership { base, change }) => {
            let change = match some(change.and_then(|change| change.change), "a change of the configuration")? {
                changed::Change::AddLearner(place) => ConfigChange::AddLearner { node: place.node, address: place.address },
                changed::Change::Promote(node) => ConfigChange::Promote { node },
                changed::Change::Remove(node) => ConfigChange::Remove { node },
                changed::Change::Update(place) => ConfigChange::Update { node: place.node, address: place.address },
            };
            Admin::ChangeMembership { base: config_in(base)?, change }
        }
        asked::Wish::MoveLeader(to) => Admin::MoveLeader { to },
        asked::Wish::Shutdown(_) => Admin::Shutdown,
        asked::Wish::TakeSnapshot(_) => Admin::TakeSnapshot,
    })
}

/// What answers an Admin; `None` for other replies.
pub fn admin_response(reply: &Reply<Request>) -> Option<wire::AdminResponse> {
    let Reply::Admin { nonce, result } = reply else { return None };
    let answer = match result {
        Ok(AdminDone::Changed(membership)) => done::Answer::Changed(membership_out(membership)),
        Ok(AdminDone::LeaderMoved(leadership)) => done::Answer::LeaderMoved(leadership_out(*leadership)),
        Ok(AdminDone::ShutDown) => done::Answer::ShutDown(wire::Nothing {}),
        Ok(AdminDone::SnapshotTaken { index }) => done::Answer::SnapshotTaken(*index),
        Err(why) => done::Answer::Refused(wire::AdminRefused { why: Some(refusal_out(why)) }),
    };
    Some(wire::AdminResponse { nonce: *nonce, answer: Some(answer) })
}

fn refusal_out(why: &AdminRefusal) -> refused::Why {
    let nothing = wire::Nothing {};
    match why {
        AdminRefusal::NotLeader(leadership) => refused::Why::NotLeader(leadership_out(*leadership)),
        AdminRefusal::NotReady => refused::Why::NotReady(nothing),
        AdminRefusal::Busy => refused::Why::Busy(nothing),
        AdminRefusal::Stale(membership) => refused::Why::Stale(membership_out(membership)),
        AdminRefusal::NotCaughtUp => refused::Why::NotCaughtUp(nothing),
        AdminRefusal::NoSuchMember => refused::Why::NoSuchMember(nothing),
        AdminRefusal::IdUsed => refused::Why::IdUsed(nothing),
        AdminRefusal::LastVoter => refused::Why::LastVoter(nothing),
        AdminRefusal::TransferFailed => refused::Why::TransferFailed(nothing),
    }
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn admin_reply(response: &wire::AdminResponse) -> Result<Reply<Request>> {
    let result = match some(response.answer.as_ref(), "the answer to an operator")? {
        done::Answer::Changed(membership) => Ok(AdminDone::Changed(membership_in(membership)?)),
        done::Answer::LeaderMoved(leadership) => Ok(AdminDone::LeaderMoved(leadership_in(*leadership))),
        done::Answer::ShutDown(_) => Ok(AdminDone::ShutDown),
        done::Answer::SnapshotTaken(index) => Ok(AdminDone::SnapshotTaken { index: *index }),
        done::Answer::Refused(why) => Err(match some(why.why.as_ref(), "why an operator was refused")? {
            refused::Why::NotLeader(leadership) => AdminRefusal::NotLeader(leadership_in(*leadership)),
            refused::Why::NotReady(_) => AdminRefusal::NotReady,
            refused::Why::Busy(_) => AdminRefusal::Busy,
            refused::Why::Stale(membership) => AdminRefusal::Stale(membership_in(membership)?),
            refused::Why::NotCaughtUp(_) => AdminRefusal::NotCaughtUp,
            refused::Why::NoSuchMember(_) => AdminRefusal::NoSuchMember,
            refused::Why::IdUsed(_) => AdminRefusal::IdUsed,
            refused::Why::LastVoter(_) => AdminRefusal::LastVoter,
            refused::Why::TransferFailed(_) => AdminRefusal::TransferFailed,
        }),
    };
    Ok(Reply::Admin { nonce: response.nonce, result })
}
