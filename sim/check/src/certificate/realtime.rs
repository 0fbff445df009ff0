//! Whether real time allows the order that the log gives.
//!
//! **A** is a total order: swept from its end, no operation may be invoked after the earliest synced response so far.
//!
//! **B** is a partial order: conflicting operations as in the log. An order that keeps it and real time exists exactly if the union
//! of both is acyclic. It is cyclic exactly if some operation a was answered before one of its conflict ancestors b (b before a through
//! a chain of conflicts) was invoked: along any other cycle, the answers that end each real-time step would rise for ever.
//! So one pass in log order suffices, which carries for each piece of the key space, and for each lease, the latest invocation among the
//! ancestors of its last write, and of the reads since. Two requests overlap exactly if they share a piece.

use history::{AppliedCommand, Operation};
use kv::{Bytes, LeaseId, Request};

use super::place::Places;
use super::{Certificate, Statement, is_serializable, named};
use crate::conflict::{Place, accesses};
use crate::replay::is_unbounded;
use crate::words::span;

const NOBODY: u32 = u32::MAX;

/// A: right to left over the log order.
pub(super) fn by_log_order(history: &[Operation], places: &Places, certificate: &mut Certificate) {
    // The earliest synced response to the right, and whose it is.
    let mut earliest = (u64::MAX, NOBODY);
    let mut check = |earliest: (u64, u32), i: u32| {
        let operation = &history[i as usize];
        if earliest.0 < operation.invoke {
            let later = &history[earliest.1 as usize];
            let message = format!(
                "{} was invoked {} after {} had its synced answer, yet the log has them the other way round",
                named(operation),
                span(operation.invoke - earliest.0),
                named(later)
            );
            certificate.object(Statement::Revisions, vec![operation.id, later.id], message);
        }
    };
    let end = |i: u32| (history[i as usize].synced_at.unwrap_or(u64::MAX), i);
    for gap in (0..=places.commands()).rev() {
        if let Some(operation) = (gap < places.commands()).then(|| places.operation_at(gap)).flatten() {
            check(earliest, operation);
            earliest = earliest.min(end(operation));
        }
        // The reads of one gap can stand in any order. Serializable ones keep no real time.
        let reads = || places.reads(gap).iter().copied().filter(|&read| !is_serializable(&history[read as usize].op));
        reads().for_each(|read| check(earliest, read));
        earliest = reads().fold(earliest, |earliest, read| earliest.min(end(read)));
    }
}

/// The latest invocation among some operations, and whose it is.
type Latest = (u64, u32);

const NONE: Latest = (0, NOBODY);

/// Where things lie among the pieces: first the world, which everything reads; then, for each of the keys that begin or end a range, that key
/// alone and what lies between it and the next; then the leases.
struct Pieces<'a> {
    keys: Vec<&'a Bytes>,
    leases: Vec<LeaseId>,
}

impl Pieces<'_> {
    fn count(&self) -> usize {
        1 + 2 * self.keys.len() + self.leases.len()
    }

    fn of(&self, place: Place<'_>) -> std::ops::Range<usize> {
        let at = |key: &Bytes| 1 + 2 * self.keys.partition_point(|known| *known < key);
        let first_lease = 1 + 2 * self.keys.len();
        match place {
            Place::All => 0..self.count(),
            Place::Keys(key, None) => at(key)..at(key) + 1,
            Place::Keys(key, Some(end)) => at(key)..(if is_unbounded(end) { first_lease } else { at(end) }).max(at(key)),
            Place::Lease(id) => {
                let at = first_lease + self.leases.partition_point(|known| *known < id);
                at..at + 1
            }
        }
    }
}

/// Of one piece: among the last write and its conflict ancestors; and among the reads since and theirs.
#[derive(Clone, Copy)]
struct Piece {
    write: Latest,
    reads: Latest,
}

/// B: conflict ancestors, in log order.
pub(super) fn by_conflict_order(history: &[Operation], log: &[AppliedCommand], places: &Places, certificate: &mut Certificate) {
    let (mut keys, mut leases): (Vec<&Bytes>, Vec<LeaseId>) = (Vec::with_capacity(2 * history.len()), Vec::new());
    let mut note = |request| {
        accesses(request, &mut |place, _| match place {
            Place::Keys(key, end) => keys.extend([Some(key), end].into_iter().flatten()),
            Place::Lease(id) => leases.push(id),
            Place::All => {}
        });
    };
    for gap in 0..=log.len() {
        places.reads(gap).iter().for_each(|&read| note(&history[read as usize].op));
        log.get(gap).into_iter().for_each(|command| note(&command.command));
    }
    keys.sort_unstable();
    keys.dedup();
    leases.sort_unstable();
    leases.dedup();
    let where_is = Pieces { keys, leases };
    let mut pieces = vec![Piece { write: NONE, reads: NONE }; where_is.count()];
    for gap in 0..=log.len() {
        for &read in places.reads(gap).iter().filter(|&&read| !is_serializable(&history[read as usize].op)) {
            pass(history, read, &history[read as usize].op, &mut pieces, &where_is, certificate);
        }
        if let Some(command) = log.get(gap) {
            let operation = places.operation_at(gap).unwrap_or(NOBODY);
            pass(history, operation, &command.command, &mut pieces, &where_is, certificate);
        }
    }
}

/// Takes the next operation in log order: judges it against its conflict ancestors, and makes it one.
fn pass(history: &[Operation], i: u32, request: &Request, pieces: &mut [Piece], where_is: &Pieces<'_>, certificate: &mut Certificate) {
    // Also the world, in case that it touches nothing: what depends on the state comes before or after all the same.
    let mut latest = pieces[0].write;
    accesses(request, &mut |place, writes| {
        for piece in &pieces[where_is.of(place)] {
            latest = latest.max(piece.write);
            if writes {
                latest = latest.max(piece.reads);
            }
        }
    });
    if let Some(operation) = history.get(i as usize) {
        let answered = operation.first_response_at().unwrap_or(u64::MAX);
        if answered < latest.0 {
            let ancestor = &history[latest.1 as usize];
            let message = format!(
                "{} was invoked {} after {} had been answered, yet the log has it before that, conflicting directly or through others",
                named(ancestor),
                span(latest.0 - answered),
                named(operation)
            );
            certificate.object(Statement::Values, vec![ancestor.id, operation.id], message);
        }
        latest = latest.max((operation.invoke, i));
    }
    pieces[0].reads = pieces[0].reads.max(latest);
    accesses(request, &mut |place, writes| {
        for piece in &mut pieces[where_is.of(place)] {
            if writes {
                // A txn may also read here, but this is later than that.
                *piece = Piece { write: latest, reads: NONE };
            } else {
                piece.reads = piece.reads.max(latest);
            }
        }
    });
}
