//! One register with read, write and compare-and-set; initially nil. Plain registers are those without a compare-and-set.

use std::collections::BTreeSet;

use crate::model::{History, Model};

/// What is asked of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads it.
    Read,
    /// Writes it.
    Write(i64),
    /// Writes the second value if it holds the first.
    Cas(i64, i64),
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// To a read: the value, `None` for nil.
    Value(Option<i64>),
    /// To a write.
    Written,
    /// To a compare-and-set: whether it held the expected value.
    Swapped(bool),
}

/// What it holds, as far as anyone can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Never written.
    Nil,
    /// A value.
    Value(i64),
    /// A value that no read returns and no compare-and-set expects: any of those will do.
    Other,
}

/// A register.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// Values that some operation can tell from others, in rising order; `None` before [`Model::partition`]: all.
    observed: Option<Vec<i64>>,
}

impl Register {
    fn state(&self, value: i64) -> State {
        match &self.observed {
            Some(observed) if observed.binary_search(&value).is_err() => State::Other,
            _ => State::Value(value),
        }
    }
}

impl Model for Register {
    type Op = Op;
    type Ret = Ret;
    type State = State;

    fn initial(&self) -> State {
        State::Nil
    }

    fn step(&self, state: &State, op: &Op, ret: Option<&Ret>, _branch: u32) -> Option<State> {
        let (next, answer) = match *op {
            Op::Read => {
                let fits = match (ret, state) {
                    (Some(Ret::Value(None)), State::Nil) | (None, _) => true,
                    (Some(Ret::Value(Some(value))), State::Value(held)) => value == held,
                    _ => false,
                };
                return fits.then_some(*state);
            }
            Op::Write(value) => (self.state(value), Ret::Written),
            Op::Cas(expected, value) if *state == State::Value(expected) => (self.state(value), Ret::Swapped(true)),
            Op::Cas(..) => (*state, Ret::Swapped(false)),
        };
        ret.is_none_or(|ret| *ret == answer).then_some(next)
    }

    fn reads_only(&self, op: &Op, ret: Option<&Ret>) -> bool {
        match op {
            Op::Read => true,
            Op::Write(_) => false,
            Op::Cas(from, to) => from == to || ret == Some(&Ret::Swapped(false)),
        }
    }

    fn interchangeable(&self, a: &Op, b: &Op) -> bool {
        match (a, b) {
            (Op::Write(a), Op::Write(b)) => self.state(*a) == self.state(*b),
            (Op::Cas(a, to_a), Op::Cas(b, to_b)) => a == b && self.state(*to_a) == self.state(*to_b),
            _ => false,
        }
    }

    fn partition(&self, mut history: History<Self>) -> Vec<(Self, History<Self>)> {
        let mut observed = BTreeSet::new();
        let mut tells_apart = false;
        for op in &history {
            match (&op.op, op.ret) {
                (Op::Read, Some(Ret::Value(Some(value)))) => _ = observed.insert(value),
                (Op::Cas(expected, _), ret) => {
                    observed.insert(*expected);
                    // A failed one needs *some* other value, and a write nobody reads can provide it.
                    tells_apart |= ret == Some(Ret::Swapped(false));
                }
                _ => {}
            }
        }
        if !tells_apart {
            let unseen = |op: &Op| matches!(op, Op::Write(to) | Op::Cas(_, to) if !observed.contains(to));
            history.retain(|op| op.is_complete() || !unseen(&op.op));
        }
        vec![(Register { observed: Some(observed.into_iter().collect()) }, history)]
    }

    fn describe(&self, op: &Op, ret: Option<&Ret>) -> String {
        let show = |value: &Option<i64>| value.map_or("nil".to_string(), |v| v.to_string());
        match (op, ret) {
            (Op::Read, Some(Ret::Value(value))) => format!("read() → {}", show(value)),
            (Op::Read, _) => "read()".into(),
            (Op::Write(value), _) => format!("write({value})"),
            (Op::Cas(from, to), Some(Ret::Swapped(done))) => format!("cas({from}, {to}) → {}", if *done { "ok" } else { "failed" }),
            (Op::Cas(from, to), _) => format!("cas({from}, {to})"),
        }
    }

    fn describe_state(&self, state: &State) -> String {
        match state {
            State::Nil => "nil".into(),
            State::Value(value) => value.to_string(),
            State::Other => "a value nobody reads".into(),
        }
    }
}
