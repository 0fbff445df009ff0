//! L3: is there an order of the operations that the model accepts and real time allows? For any model.
//!
//! The search of Wing and Gong with Lowe's memo, taken just in time: it walks the answers in the order they came, and only when
//! one comes whose operation is not placed yet does it place operations, that one last. What keeps it small:
//!
//! - a configuration is (next answer, state, which open operations are placed): bits only for the *open* ones, their places
//!   used again (a window), and states as numbers;
//! - an operation that only reads is placed as soon as its answer fits: placing it later could not help the others;
//! - interchangeable unanswered operations are placed in order of invocation, so that only their number varies;
//! - a configuration that used a superset of another's unanswered operations, equal in the rest, is not looked at again.
//!
//! Out of budget is [`Outcome::Unknown`], never legal. Deliberately absent: any idea of what an operation means.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{History, Model};
use crate::table::{Interner, Seen, Transitions};

/// How much a search may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Placements tried, for each part of a history on its own. Deterministic.
    pub steps: u64,
    /// Wall-clock time for the whole history; `None`: no limit. For the command line: its verdicts may differ between machines.
    pub wall: Option<Duration>,
    /// Threads that share the parts; 1 inside simulated runs.
    pub threads: usize,
}

impl Default for Budget {
    /// Five million steps (about half a second) for each part, no wall-clock limit, one thread.
    fn default() -> Self {
        Budget { steps: 5_000_000, wall: None, threads: 1 }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub enum Outcome<M: Model> {
    /// There is an order.
    Legal,
    /// There is none.
    Illegal(Stuck<M>),
    /// The budget ended first.
    Unknown,
}

impl<M: Model> Outcome<M> {
    /// Whether an order exists; `None`: not known.
    pub fn legal(&self) -> Option<bool> {
        match self {
            Outcome::Legal => Some(true),
            Outcome::Illegal(_) => Some(false),
            Outcome::Unknown => None,
        }
    }
}

/// Where the search of an illegal history got stuck.
#[derive(Clone, Debug)]
pub struct Stuck<M: Model> {
    /// The model of the part that is illegal.
    pub model: M,
    /// The part.
    pub part: History<M>,
    /// The first operation, in order of answers, that no order of the operations until then explains.
    pub id: u64,
    /// The states possible when the search last had a choice before that answer (at most eight).
    pub states: Vec<M::State>,
}

/// Searches a whole history, part by part.
pub fn search<M: Model>(model: &M, history: History<M>, budget: Budget) -> Outcome<M> {
    let deadline = budget.wall.map(|wall| Instant::now() + wall);
    let parts = model.partition(history);
    if budget.threads > 1 && parts.len() > 1 {
        return search_parallel(parts, budget, deadline);
    }
    let mut unknown = false;
    for (model, part) in parts {
        match search_part(&model, &part, budget.steps, deadline) {
            PartOutcome::Legal => {}
            PartOutcome::Unknown => unknown = true,
            PartOutcome::Illegal { id, states } => return Outcome::Illegal(Stuck { model, part, id, states }),
        }
    }
    if unknown { Outcome::Unknown } else { Outcome::Legal }
}

fn search_parallel<M: Model>(parts: Vec<(M, History<M>)>, budget: Budget, deadline: Option<Instant>) -> Outcome<M> {
    let (next, unknown) = (AtomicUsize::new(0), AtomicBool::new(false));
    let illegal: Mutex<Option<Stuck<M>>> = Mutex::new(None);
    // A poisoned lock means that a model panicked on another thread; the scope passes that panic on.
    let lock = || illegal.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..budget.threads.min(parts.len()) {
            scope.spawn(|| {
                while let Some((model, part)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match search_part(model, part, budget.steps, deadline) {
                        PartOutcome::Legal => {}
                        PartOutcome::Unknown => unknown.store(true, Ordering::Relaxed),
                        PartOutcome::Illegal { id, states } => {
                            *lock() = Some(Stuck { model: model.clone(), part: part.clone(), id, states: own(&states) });
                            next.store(parts.len(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    match illegal.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(stuck) => Outcome::Illegal(stuck),
        None if unknown.into_inner() => Outcome::Unknown,
        None => Outcome::Legal,
    }
}

fn own<S: Clone>(states: &[S]) -> Vec<S> {
    states.to_vec()
}

/// What the search of one part found.
pub(crate) enum PartOutcome<S> {
    Legal,
    Illegal { id: u64, states: Vec<S> },
    Unknown,
}

/// Searches one part.
pub(crate) fn search_part<M: Model>(model: &M, part: &History<M>, steps: u64, deadline: Option<Instant>) -> PartOutcome<M::State> {
    Search::new(model, part).run(steps, deadline)
}

/// An answer: where the walk stops if its operation is not placed.
struct Point {
    /// The operation answered.
    op: u32,
    /// Where the answered operations open at this point begin and end in [`Search::open`], the one answered first.
    open: (u32, u32),
    /// How many unanswered operations were invoked by now.
    unanswered: u32,
}

struct Search<'a, M: Model> {
    model: &'a M,
    part: &'a History<M>,
    points: Vec<Point>,
    open: Vec<u32>,
    /// Unanswered operations that may write, in order of invocation.
    unanswered: Vec<u32>,
    /// For each of those, the latest earlier one interchangeable with it.
    twin: Vec<Option<u32>>,
    /// Bit of each answered operation while it is open.
    slot: Vec<u32>,
    reads: Vec<bool>,
    /// First move of each operation: a move is an operation with one of its branches.
    moves: Vec<u32>,
    done_words: usize,
    states: Interner<M::State>,
    transitions: Transitions,
}

/// A configuration whose alternatives are being tried.
struct Frame {
    point: u32,
    state: u32,
    candidate: u32,
    branch: u32,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, part: &'a History<M>) -> Self {
        let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * part.len());
        let mut moves = Vec::with_capacity(part.len() + 1);
        let mut reads = Vec::with_capacity(part.len());
        let mut move_count = 0;
        for (i, op) in part.iter().enumerate() {
            moves.push(move_count);
            move_count += model.branches(&op.op, op.ret.as_ref());
            reads.push(model.reads_only(&op.op, op.ret.as_ref()));
            if op.is_complete() {
                events.push((op.invoke, false, i as u32));
                events.push((op.end, true, i as u32));
            } else if !reads[i] {
                events.push((op.invoke, false, i as u32));
            }
        }
        moves.push(move_count);
        // At equal times, invocations first: an operation precedes another only if it ends strictly before.
        events.sort_unstable();

        let (mut points, mut open, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
        let (mut now_open, mut free, mut slots) = (Vec::<u32>::new(), Vec::<u32>::new(), 0);
        let mut slot = vec![0; part.len()];
        for (_, answered, op) in events {
            let end = |op: u32| (part[op as usize].end, op);
            if answered {
                let from = open.len() as u32;
                open.extend_from_slice(&now_open);
                points.push(Point { op, open: (from, open.len() as u32), unanswered: unanswered.len() as u32 });
                debug_assert_eq!(now_open[0], op);
                now_open.remove(0);
                free.push(slot[op as usize]);
            } else if part[op as usize].is_complete() {
                slot[op as usize] = free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
                let at = now_open.partition_point(|&other| end(other) < end(op));
                now_open.insert(at, op);
            } else {
                unanswered.push(op);
            }
        }
        let same = |a: u32, b: u32| {
            let (a, b) = (&part[a as usize], &part[b as usize]);
            a.ret.is_none() && b.ret.is_none() && model.interchangeable(&a.op, &b.op)
        };
        let twin = (0..unanswered.len()).map(|i| (0..i).rev().find(|&j| same(unanswered[i], unanswered[j])).map(|j| j as u32));
        let twin = twin.collect();
        let done_words = (slots as usize).div_ceil(64);
        let (states, transitions) = (Interner::new(), Transitions::new());
        Search { model, part, points, open, unanswered, twin, slot, reads, moves, done_words, states, transitions }
    }

    /// The state after a move, `None` if the answer does not fit.
    fn step(&mut self, state: u32, op: u32, branch: u32) -> Option<u32> {
        let (model, states, timed) = (self.model, &mut self.states, &self.part[op as usize]);
        self.transitions.get_or(state, self.moves[op as usize] + branch, || {
            let next = model.step(states.get(state), &timed.op, timed.ret.as_ref(), branch)?;
            Some(states.intern(next))
        })
    }

    /// Passes every answer whose operation is placed, placing reads that fit; stops at the first that is not, or at the end.
    fn advance(&mut self, mut point: usize, state: u32, bits: &mut [u64]) -> usize {
        loop {
            let Some(next) = self.points.get(point) else { return point };
            let slot = self.slot[next.op as usize];
            if !has(bits, slot) {
                for at in next.open.0..next.open.1 {
                    let op = self.open[at as usize];
                    let slot = self.slot[op as usize];
                    if self.reads[op as usize] && !has(bits, slot) && self.step(state, op, 0).is_some() {
                        set(bits, slot);
                    }
                }
            }
            if !has(bits, slot) {
                return point;
            }
            bits[slot as usize / 64] &= !(1 << (slot % 64));
            point += 1;
        }
    }

    fn run(mut self, mut steps: u64, deadline: Option<Instant>) -> PartOutcome<M::State> {
        let words = self.done_words + self.unanswered.len().div_ceil(64);
        let mut seen = Seen::new(1 + self.done_words, words - self.done_words);
        // The configuration being made: a word of point and state, then its bits.
        let mut config = vec![0; 1 + words];
        // The bits of every frame, one after the other.
        let mut stack_bits: Vec<u64> = Vec::new();
        let mut stack: Vec<Frame> = Vec::new();
        let mut furthest: (usize, Vec<u32>) = (0, Vec::new());

        let (mut point, mut state) = (0, self.states.intern(self.model.initial()));
        loop {
            // Enter the configuration (point, state, config's bits).
            point = self.advance(point, state, &mut config[1..]);
            if point == self.points.len() {
                return PartOutcome::Legal;
            }
            if point > furthest.0 {
                furthest = (point, Vec::new());
            }
            if point == furthest.0 && furthest.1.len() < 8 && !furthest.1.contains(&state) {
                furthest.1.push(state);
            }
            config[0] = (point as u64) << 32 | u64::from(state);
            if seen.insert(&config) {
                stack.push(Frame { point: point as u32, state, candidate: 0, branch: 0 });
                stack_bits.extend_from_slice(&config[1..]);
            }
            // Find the next placement to try, going back as far as needed.
            loop {
                let Some(frame) = stack.last_mut() else {
                    let id = self.part[self.points[furthest.0].op as usize].id;
                    return PartOutcome::Illegal { id, states: furthest.1.iter().map(|&s| self.states.get(s).clone()).collect() };
                };
                steps = steps.saturating_sub(1);
                if steps == 0 || (steps & 1023 == 0 && deadline.is_some_and(|at| Instant::now() > at)) {
                    return PartOutcome::Unknown;
                }
                let bits = stack_bits.len() - words;
                config[1..].copy_from_slice(&stack_bits[bits..]);
                match self.place(frame, &mut config[1..]) {
                    None => {
                        stack.pop();
                        stack_bits.truncate(bits);
                    }
                    Some(Some(next)) => {
                        (point, state) = (frame.point as usize, next);
                        break;
                    }
                    Some(None) => {}
                }
            }
        }
    }

    /// Tries the frame's next candidate: the state after it, with its bit set. `Some(None)`: that one is of no use; `None`:
    /// there are no more.
    fn place(&mut self, frame: &mut Frame, bits: &mut [u64]) -> Option<Option<u32>> {
        let Point { open, unanswered, .. } = self.points[frame.point as usize];
        let open_count = open.1 - open.0;
        if frame.candidate >= open_count + unanswered {
            return None;
        }
        // Candidates: the operations open here, the one answered first and the others by their answers; then unanswered ones.
        let answered = frame.candidate < open_count;
        let (op, bit, useful) = if answered {
            let op = self.open[(open.0 + frame.candidate) as usize];
            let bit = self.slot[op as usize];
            (op, bit, !self.reads[op as usize] && !has(bits, bit))
        } else {
            let nth = frame.candidate - open_count;
            let base = self.done_words as u32 * 64;
            let twin_is_placed = self.twin[nth as usize].is_none_or(|twin| has(bits, base + twin));
            (self.unanswered[nth as usize], base + nth, twin_is_placed && !has(bits, base + nth))
        };
        let branch = frame.branch;
        if useful && self.moves[op as usize] + branch + 1 < self.moves[op as usize + 1] {
            frame.branch += 1;
        } else {
            (frame.candidate, frame.branch) = (frame.candidate + 1, 0);
        }
        if !useful {
            return Some(None);
        }
        let next = self.step(frame.state, op, branch);
        // An unanswered operation that changes nothing is better kept for later.
        let next = next.filter(|&next| answered || next != frame.state);
        if next.is_some() {
            set(bits, bit);
        }
        Some(next)
    }
}

fn has(bits: &[u64], bit: u32) -> bool {
    bits[bit as usize / 64] >> (bit % 64) & 1 == 1
}

fn set(bits: &mut [u64], bit: u32) {
    bits[bit as usize / 64] |= 1 << (bit % 64);
}
