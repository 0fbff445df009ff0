//! Why a history is illegal, for people: the operations that contradict each other, in a sentence, and as few of them as will do.
//!
//! An operation is *relaxed* by allowing that it did not happen; if the rest is still illegal, it was no part of the
//! contradiction. What cannot be relaxed without making the history legal is the core. (To leave an operation out altogether would be
//! wrong: a read of what the missing operation wrote would look like the culprit.)

use std::fmt;

use crate::model::{History, Model, NEVER};
use crate::search::{Budget, Stuck, search};
use crate::words;

/// What the times of a history count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Virtual nanoseconds.
    Nanoseconds,
    /// Lines of a log.
    Lines,
}

/// Why a history is illegal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// One sentence that names what contradicts what.
    pub sentence: String,
    /// Ids of the operations of the core, in order of invocation.
    pub operations: Vec<u64>,
    /// The same in words, each with its times.
    pub core: Vec<String>,
    /// Whether it is minimal: false if the search for a smaller one ran out of budget.
    pub minimal: bool,
    /// The states possible at the window's start: when the search last had a choice before it got stuck.
    pub states: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence)?;
        write!(f, "\n  possible just before: {}", self.states.join("; "))?;
        self.core.iter().try_for_each(|operation| write!(f, "\n  {operation}"))
    }
}

/// Steps of each search for a smaller core, and searches.
const STEPS: u64 = 10_000;
const SEARCHES_MAX: u32 = 200;

/// Explains where the search got stuck.
pub fn explain<M: Model>(stuck: &Stuck<M>, unit: Unit) -> Explanation {
    let model = &stuck.model;
    let (core, minimal) = Core::new(stuck).minimize();
    let states: Vec<String> = stuck.states.iter().map(|state| model.describe_state(state)).collect();
    let say = |i: usize| model.describe(&stuck.part[i].op, stuck.part[i].ret.as_ref());
    let lines = core.iter().map(|&i| {
        let op = &stuck.part[i];
        match unit {
            Unit::Nanoseconds => format!("operation {}, from {} to {}: {}", op.id, words::span(op.invoke), words::span(op.end), say(i)),
            Unit::Lines => format!("lines {} to {}: {}", op.invoke, op.end, say(i)),
        }
    });
    Explanation {
        sentence: sentence(stuck, &core, unit),
        operations: core.iter().map(|&i| stuck.part[i].id).collect(),
        core: lines.collect(),
        minimal,
        states,
    }
}

/// A time between two operations.
pub(crate) fn apart(span: u64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => words::span(span),
        Unit::Lines => format!("{span} line{}", if span == 1 { "" } else { "s" }),
    }
}

fn sentence<M: Model>(stuck: &Stuck<M>, core: &[usize], unit: Unit) -> String {
    let part = &stuck.part;
    let say = |i: usize| stuck.model.describe(&part[i].op, part[i].ret.as_ref());
    let reads = |i: &usize| stuck.model.reads_only(&part[*i].op, part[*i].ret.as_ref());
    if let [alone] = core {
        return format!("{}, but nothing that can have happened by then gives that answer", say(*alone));
    }
    let last = core
        .iter()
        .copied()
        .filter(reads)
        .max_by_key(|&i| part[i].invoke)
        .or_else(|| core.iter().copied().find(|&i| part[i].id == stuck.id));
    if let Some(last) = last {
        // The latest news before it.
        let before = core.iter().copied().filter(|&i| part[i].end < part[last].invoke).max_by_key(|&i| part[i].end);
        if let Some(before) = before {
            let apart = apart(part[last].invoke - part[before].end, unit);
            let (how, but) = if reads(&before) {
                ("answered", "no order of the other operations makes both right")
            } else {
                ("acknowledged", "nothing overwrote it")
            };
            return format!("{} was invoked {apart} after {} had been {how}, and {but}", say(last), say(before));
        }
    }
    let shown = core.iter().take(4).map(|&i| say(i)).collect::<Vec<_>>().join("; ");
    let more = if core.len() > 4 { format!("; and {} more", core.len() - 4) } else { String::new() };
    format!("no order of these {} operations gives their answers: {shown}{more}", core.len())
}

/// The search for a minimal core.
struct Core<'a, M: Model> {
    stuck: &'a Stuck<M>,
    /// Answered operations that could be in it, the latest answer first.
    candidates: Vec<usize>,
    searches_left: u32,
    /// Whether every search came to an end.
    decided: bool,
}

impl<'a, M: Model> Core<'a, M> {
    fn new(stuck: &'a Stuck<M>) -> Self {
        let part = &stuck.part;
        let until = part.iter().find(|op| op.id == stuck.id).map_or(NEVER, |op| op.end);
        // The search got stuck at this answer: what was answered later is no part of the contradiction.
        let mut candidates: Vec<usize> = (0..part.len()).filter(|&i| part[i].is_complete() && part[i].end <= until).collect();
        candidates.sort_by_key(|&i| std::cmp::Reverse(part[i].end));
        Core { stuck, candidates, searches_left: SEARCHES_MAX, decided: true }
    }

    /// The core, in order of invocation, and whether it is known to be minimal.
    fn minimize(mut self) -> (Vec<usize>, bool) {
        let part = &self.stuck.part;
        let mut count = 1;
        let mut core = loop {
            let some = self.candidates[..count.min(self.candidates.len())].to_vec();
            if count >= self.candidates.len() || self.is_illegal(&some) {
                break some;
            }
            count *= 2;
        };
        // Large pieces first; the oldest first, since a contradiction is about what came last.
        let mut piece = core.len().div_ceil(2);
        loop {
            let mut end = core.len();
            while end > 0 {
                let begin = end.saturating_sub(piece);
                let rest: Vec<usize> = core[..begin].iter().chain(&core[end..]).copied().collect();
                if !rest.is_empty() && self.is_illegal(&rest) {
                    core = rest;
                }
                end = begin;
            }
            if piece <= 1 {
                break;
            }
            piece = piece.div_ceil(2);
        }
        core.sort_by_key(|&i| part[i].invoke);
        (core, self.decided)
    }

    /// Whether the history is illegal with only these operations sure to have happened. Out of budget counts as no.
    fn is_illegal(&mut self, sure: &[usize]) -> bool {
        if self.searches_left == 0 {
            self.decided = false;
            return false;
        }
        self.searches_left -= 1;
        let mut relaxed: History<M> = self.stuck.part.clone();
        for (i, op) in relaxed.iter_mut().enumerate() {
            if !sure.contains(&i) {
                op.end = NEVER;
            }
        }
        let outcome = search(&self.stuck.model, relaxed, Budget { steps: STEPS, wall: None, threads: 1 });
        self.decided &= outcome.legal().is_some();
        outcome.legal() == Some(false)
    }
}
