//! A sequential specification, apart from the search that holds histories against it.
//!
//! Implement [`Model`] for an object of your own and give its operations to [`crate::search::search`]: `models/register.rs` is
//! an example of a hundred lines.

use std::fmt::Debug;
use std::hash::Hash;

/// [`Timed::end`] of an operation that was never answered: it may take effect at any time after its invocation, or never.
pub const NEVER: u64 = u64::MAX;

/// One operation of a history. Operation a precedes b exactly if `a.end < b.invoke`; the unit of time is the caller's.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed<O, R> {
    /// The caller's name for it, given back in explanations; unique in the history.
    pub id: u64,
    /// What was asked.
    pub op: O,
    /// The answer; `None` fits every answer. One that has an answer but no [`end`](Self::end) did not happen, or answered so.
    pub ret: Option<R>,
    /// When it was invoked.
    pub invoke: u64,
    /// When it was answered, at least `invoke`; [`NEVER`] for an operation that may or may not have happened.
    pub end: u64,
}

impl<O, R> Timed<O, R> {
    /// Whether it surely took effect.
    pub fn is_complete(&self) -> bool {
        self.end != NEVER
    }
}

/// The operations of a model, timed.
pub type History<M> = Vec<Timed<<M as Model>::Op, <M as Model>::Ret>>;

/// A sequential object.
///
/// The search is sound for every implementation whose `step` is a function of its arguments; the other methods only make it
/// faster, and each says what must hold.
pub trait Model: Clone + Send + Sync {
    /// What is asked of the object.
    type Op: Clone + Debug + Send + Sync;
    /// What it answers.
    type Ret: Clone + Debug + Send + Sync;
    /// What it remembers. Equal states must behave equally; states that differ only in what no remaining operation can observe
    /// may be made equal.
    type State: Clone + Eq + Hash + Debug + Send;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `op`, or `None` if `op` in `state` does not answer `ret`. `branch` is below
    /// [`branches`](Self::branches): which of several possible effects is meant.
    fn step(&self, state: &Self::State, op: &Self::Op, ret: Option<&Self::Ret>, branch: u32) -> Option<Self::State>;

    /// In how many ways the operation can take effect; 1 unless the record leaves something open.
    fn branches(&self, _op: &Self::Op, _ret: Option<&Self::Ret>) -> u32 {
        1
    }

    /// Whether the operation, having answered `ret`, leaves every state as it is. Such operations are placed as early as they
    /// fit, without trying the alternatives. `false` is always right.
    fn reads_only(&self, _op: &Self::Op, _ret: Option<&Self::Ret>) -> bool {
        false
    }

    /// Whether two operations without answers take every state to the same state. Then only their number matters. `false` is always
    /// right.
    fn interchangeable(&self, _a: &Self::Op, _b: &Self::Op) -> bool {
        false
    }

    /// Splits a history into parts that are linearizable together exactly if each is alone (Herlihy and Wing's locality), each
    /// with a model of its own. An unanswered operation that no other one can observe may be left out.
    fn partition(&self, history: History<Self>) -> Vec<(Self, History<Self>)> {
        vec![(self.clone(), history)]
    }

    /// The operation with its answer, for people: `get(k3) → 12`.
    fn describe(&self, op: &Self::Op, ret: Option<&Self::Ret>) -> String {
        match ret {
            Some(ret) => format!("{op:?} → {ret:?}"),
            None => format!("{op:?}"),
        }
    }

    /// The state, for people.
    fn describe_state(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}
