//! `history.jsonl`: client operations as the client saw them, one per line, on the run's global virtual clock.

use curp::{Index, ProposeId};
use kv::{Request, Response};
use serde::{Deserialize, Serialize};

/// How an operation ended, for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened; `fast` or `synced` says with what result.
    Ok,
    /// It surely did not happen, and never will.
    Fail,
    /// It may have happened, at any time after its invocation, or may yet, or never.
    Unknown,
}

/// etcd's response header, as far as we have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The store's revision after the operation.
    pub revision: u64,
}

/// A synced response: a response with its header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncedResponse {
    /// Header.
    pub header: Header,
    /// Response.
    #[serde(flatten)]
    pub response: Response,
}

/// One operation. Times are virtual nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number in the plan; unique in the run.
    pub id: u64,
    /// The client (a process of the workload).
    pub client: u32,
    /// What was asked.
    pub op: Request,
    /// When.
    pub invoke: u64,
    /// When the caller had its answer: the first of fast and synced. `None`: never, or the caller gave up.
    #[serde(rename = "return")]
    pub ret: Option<u64>,
    /// How it ended for the caller.
    pub outcome: Outcome,
    /// The fast (speculative) result, without revision.
    #[serde(default)]
    pub fast: Option<Response>,
    /// When the fast round completed.
    #[serde(default)]
    pub fast_at: Option<u64>,
    /// The synced result; it may come after the caller gave up.
    #[serde(default)]
    pub synced: Option<SyncedResponse>,
    /// When it came.
    #[serde(default)]
    pub synced_at: Option<u64>,
    /// The command's id in the log; `None` for a read by read index, and for other tools' histories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propose_id: Option<ProposeId>,
    /// For a read: the applied index at which it was served. Not an answer to the caller, but what a certificate needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_index: Option<Index>,
}

impl Operation {
    /// Whether it is answered without a place in the log: a range, or what only a leader answers, from its clock.
    pub fn is_read(&self) -> bool {
        matches!(self.op, Request::Range(_)) || self.op.is_leaders()
    }

    /// Whether any node may have answered it from what it had applied: a prefix of the log, not the latest.
    pub fn is_serializable(&self) -> bool {
        matches!(&self.op, Request::Range(range) if range.serializable)
    }

    /// When the first response came, fast or synced, whether or not the caller still waited; `None` if none came.
    pub fn first_response_at(&self) -> Option<u64> {
        match (self.fast_at, self.synced_at) {
            (Some(fast), Some(synced)) => Some(fast.min(synced)),
            (fast, synced) => fast.or(synced),
        }
    }

    /// What contradicts itself in the record, in words, if anything does: such an operation cannot be judged.
    pub fn contradiction(&self) -> Option<String> {
        let id = self.id;
        for (name, at) in [("return", self.ret), ("fast_at", self.fast_at), ("synced_at", self.synced_at)] {
            if let Some(at) = at.filter(|&at| at < self.invoke) {
                return Some(format!("operation {id} has `{name}` {at} before its `invoke` {}", self.invoke));
            }
        }
        for (name, result, at) in [("fast", self.fast.is_some(), self.fast_at), ("synced", self.synced.is_some(), self.synced_at)] {
            if result != at.is_some() {
                return Some(format!("operation {id} has only one of `{name}` and `{name}_at`"));
            }
        }
        let answered = self.fast.is_some() || self.synced.is_some();
        match self.outcome {
            Outcome::Ok if !answered => Some(format!("operation {id} has outcome ok, but neither `fast` nor `synced`")),
            Outcome::Ok if self.ret.is_none() => Some(format!("operation {id} has outcome ok, but no `return`")),
            Outcome::Fail if answered => Some(format!("operation {id} has outcome fail, but a result")),
            _ => None,
        }
    }
}

/// One command of the final applied log: what the certificate check (L0) holds a history against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedCommand {
    /// Its place in the log.
    pub index: Index,
    /// Its id.
    pub id: ProposeId,
    /// The command.
    pub command: Request,
}
