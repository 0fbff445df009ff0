//! A log, executed in some order that the conflict check allows.

use curp::{CommandExecutor, ConflictCheck};
use kv::*;

/// The term of every entry.
pub const TERM: u64 = 2;

/// What a step did, to the entry of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Prepared(usize),
    Applied(usize),
}

pub struct Run {
    pub commands: Vec<Request>,
    pub store: Store,
    /// Of the entries prepared so far.
    pub revisions: Vec<u64>,
    /// Of the entries applied so far.
    pub deltas: Vec<Option<u64>>,
    pub responses: Vec<Option<Response>>,
}

impl Run {
    pub fn new(commands: Vec<Request>) -> Self {
        let n = commands.len();
        Run { commands, store: Store::new(), revisions: Vec::new(), deltas: vec![None; n], responses: vec![None; n] }
    }

    /// The entries that may be applied now, and the next one, if it may be prepared.
    pub fn possible(&self) -> Vec<Step> {
        let next = self.revisions.len();
        let applied = |i: usize| self.deltas[i].is_some();
        let mut steps: Vec<Step> = (0..next).filter(|&i| !applied(i)).map(Step::Applied).collect();
        if next < self.commands.len() && (0..next).all(|i| applied(i) || !self.commands[i].conflicts(&self.commands[next])) {
            steps.push(Step::Prepared(next));
        }
        steps
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Prepared(i) => self.revisions.push(self.store.prepare_entry(Some(TERM), &self.commands[i])),
            Step::Applied(i) => {
                let (synced, delta) = self.store.apply_entry(Some(TERM), self.revisions[i], &self.commands[i]);
                assert_eq!(synced.revision, self.revisions[i]);
                self.deltas[i] = Some(delta);
                self.responses[i] = Some(synced.response);
            }
        }
    }

    /// Entries applied, up to the first that is not.
    pub fn low(&self) -> usize {
        self.deltas.iter().take_while(|d| d.is_some()).count()
    }

    /// Another replica, made from a snapshot of this one.
    pub fn restored(&self) -> Store {
        let mut other = Store::new();
        other.restore(&self.store.snapshot()).expect("it was a snapshot");
        other
    }
}
