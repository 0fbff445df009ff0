//! Whether real time allows the order that the log gives.
//!
//! **A** is a total order: swept from its end, no operation may be invoked after the earliest synced response so far.
//!
//! **B** is a partial order: conflicting operations as in the log. An order that keeps it and real time exists exactly if the union
//! of both is acyclic. It is cyclic exactly if some operation a was answered before one of its conflict ancestors b (b before a through
//! a chain of conflicts) was invoked: along any other cycle, the answers that end each real-time step would rise for ever.
//! So one pass in log order suffices, which carries for each piece of the key space the latest invocation among the ancestors
//! of its last write, and of the reads since. Two requests overlap exactly if they share a piece.

use history::{AppliedCommand, Operation};
use kv::{Bytes, Request};

use super::place::Places;
use super::{Certificate, Statement, named};
use crate::conflict::accesses;
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
        // The reads of one gap can stand in any order.
        places.reads(gap).iter().for_each(|&read| check(earliest, read));
        earliest = places.reads(gap).iter().fold(earliest, |earliest, &read| earliest.min(end(read)));
    }
}

/// The latest invocation among some operations, and whose it is.
type Latest = (u64, u32);

const NONE: Latest = (0, NOBODY);

/// Of one piece of the key space: among the last write and its conflict ancestors; and among the reads since and theirs.
#[derive(Clone, Copy)]
struct Piece {
    write: Latest,
    reads: Latest,
}

/// B: conflict ancestors, in log order.
pub(super) fn by_conflict_order(history: &[Operation], log: &[AppliedCommand], places: &Places, certificate: &mut Certificate) {
    let mut ends: Vec<&Bytes> = Vec::with_capacity(2 * history.len());
    let mut note = |request| accesses(request, &mut |key, end, _| ends.extend([Some(key), end].into_iter().flatten()));
    for gap in 0..=log.len() {
        places.reads(gap).iter().for_each(|&read| note(&history[read as usize].op));
        log.get(gap).into_iter().for_each(|command| note(&command.command));
    }
    ends.sort_unstable();
    ends.dedup();
    // Piece 2i is the key `ends[i]` alone, piece 2i + 1 what lies between it and the next.
    let mut pieces = vec![Piece { write: NONE, reads: NONE }; 2 * ends.len()];
    let range = |key: &Bytes, end: Option<&Bytes>| {
        let at = |key: &Bytes| 2 * ends.partition_point(|e| *e < key);
        let from = at(key);
        let to = match end {
            Some(end) if is_unbounded(end) => 2 * ends.len(),
            Some(end) => at(end),
            None => from + 1,
        };
        from..to.max(from)
    };
    for gap in 0..=log.len() {
        for &read in places.reads(gap) {
            pass(history, read, &history[read as usize].op, &mut pieces, &range, certificate);
        }
        if let Some(command) = log.get(gap) {
            let operation = places.operation_at(gap).unwrap_or(NOBODY);
            pass(history, operation, &command.command, &mut pieces, &range, certificate);
        }
    }
}

/// Takes the next operation in log order: judges it against its conflict ancestors, and makes it one.
fn pass(
    history: &[Operation],
    i: u32,
    request: &Request,
    pieces: &mut [Piece],
    range: &impl Fn(&Bytes, Option<&Bytes>) -> std::ops::Range<usize>,
    certificate: &mut Certificate,
) {
    let mut latest = NONE;
    accesses(request, &mut |key, end, writes| {
        for piece in &pieces[range(key, end)] {
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
    accesses(request, &mut |key, end, writes| {
        for piece in &mut pieces[range(key, end)] {
            if writes {
                // A txn may also read here, but this is later than that.
                *piece = Piece { write: latest, reads: NONE };
            } else {
                piece.reads = piece.reads.max(latest);
            }
        }
    });
}
