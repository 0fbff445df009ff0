//! Where each operation stands in the log: each answered id exactly once, no failed one, none that nobody asked for.

use curp::ProposeId;
use history::{AppliedCommand, Operation};

use super::unnamed;
use super::{Certificate, Statement, has_failed, is_answered, is_answered_by_the_clock, is_read, is_serializable, named};
use crate::servers::is_servers;

pub(super) const NOBODY: u32 = u32::MAX;

/// Operations by their places. Gap g is just before the log's command g; gap n is the end.
pub(super) struct Places {
    /// For each command of the log, its operation's position in the history.
    operations: Vec<u32>,
    /// Reads, by gap.
    reads: Vec<u32>,
    /// Where in `reads` each gap begins; one more than gaps.
    gaps: Vec<u32>,
}

impl Places {
    /// The reads that stand just before command `gap`.
    pub(super) fn reads(&self, gap: usize) -> &[u32] {
        &self.reads[self.gaps[gap] as usize..self.gaps[gap + 1] as usize]
    }

    /// The operation that is command `place` of the log; `None` if nobody's.
    pub(super) fn operation_at(&self, place: usize) -> Option<u32> {
        Some(self.operations[place]).filter(|&operation| operation != NOBODY)
    }

    /// Number of commands in the log.
    pub(super) fn commands(&self) -> usize {
        self.operations.len()
    }

    /// Finds every place, and objects to what has none or a wrong one.
    pub(super) fn find(history: &[Operation], log: &[AppliedCommand], certificate: &mut Certificate) -> Places {
        let mut operations = commands(history, log, certificate);
        let mut reads: Vec<(u32, u32)> = unnamed::place(history, log, &mut operations, certificate);
        for (_, command) in log.iter().enumerate().filter(|(place, _)| operations[*place] == NOBODY) {
            stray(history, command, certificate);
        }
        for (i, operation) in history.iter().enumerate() {
            if operation.propose_id.is_some() || !is_answered(operation) || is_answered_by_the_clock(&operation.op) {
                continue;
            }
            match operation.applied_index {
                Some(applied) => reads.push((log.partition_point(|command| command.index <= applied) as u32, i as u32)),
                // It may be of any prefix; or it is placed by its revision.
                None if is_serializable(&operation.op) || operation.synced.is_some() => {}
                None => {
                    certificate.unplaced.get_or_insert_with(|| {
                        format!("{} is answered, but has neither a propose_id nor an applied_index", named(operation))
                    });
                }
            }
        }
        reads.sort_unstable();
        let gaps = (0..=log.len() as u32 + 1).map(|gap| reads.partition_point(|read| read.0 < gap) as u32).collect();
        Places { operations, reads: reads.into_iter().map(|read| read.1).collect(), gaps }
    }
}

fn commands(history: &[Operation], log: &[AppliedCommand], certificate: &mut Certificate) -> Vec<u32> {
    let mut by_id: Vec<(ProposeId, u32)> = Vec::with_capacity(history.len());
    by_id.extend(history.iter().enumerate().filter_map(|(i, operation)| Some((operation.propose_id?, i as u32))));
    by_id.sort_unstable();
    if let Some(twice) = by_id.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let [a, b] = [twice[0].1, twice[1].1].map(|i| &history[i as usize]);
        let message = format!("{} and {} have the same id {}", named(a), named(b), twice[0].0);
        certificate.object(Statement::Values, vec![a.id, b.id], message);
    }
    if let Some(pair) = log.windows(2).find(|pair| pair[0].index >= pair[1].index) {
        certificate.unplaced = Some(format!("the applied log is not in order: index {} stands before {}", pair[0].index, pair[1].index));
    }
    let mut first_place: Vec<u32> = vec![NOBODY; history.len()];
    let mut operations = vec![NOBODY; log.len()];
    for (place, command) in log.iter().enumerate() {
        let found = by_id.binary_search_by_key(&command.id, |entry| entry.0).map(|at| by_id[at].1);
        let Ok(i) = found else { continue };
        let operation = &history[i as usize];
        if first_place[i as usize] != NOBODY {
            let first = log[first_place[i as usize] as usize].index;
            let message = format!("{} took effect twice, at log index {first} and again at {}", named(operation), command.index);
            certificate.object(Statement::Values, vec![operation.id], message);
            continue;
        }
        first_place[i as usize] = place as u32;
        operations[place] = i;
        if has_failed(operation) {
            let message = format!("{} was reported as failed, but it took effect at log index {}", named(operation), command.index);
            certificate.object(Statement::Values, vec![operation.id], message);
        }
        if operation.op != command.command {
            let message = format!(
                "{} has id {}, under which the log has {} at index {}",
                named(operation),
                command.id,
                crate::words::request(&command.command),
                command.index
            );
            certificate.object(Statement::Values, vec![operation.id], message);
        }
    }
    for (operation, place) in history.iter().zip(first_place) {
        if let Some(id) = operation.propose_id.filter(|_| place == NOBODY && is_answered(operation)) {
            let message = format!("{} was acknowledged, but its id {id} is not in the final log", named(operation));
            certificate.object(Statement::Values, vec![operation.id], message);
        }
    }
    operations
}

/// A command that no operation is: an error, unless one whose id was never learned, and that has no synced answer, can be it.
fn stray(history: &[Operation], command: &AppliedCommand, certificate: &mut Certificate) {
    let can_be = |o: &Operation| {
        o.propose_id == Some(command.id) || o.propose_id.is_none() && o.synced.is_none() && !has_failed(o) && o.op == command.command
    };
    if !is_read(&command.command) && !is_servers(command) && !history.iter().any(can_be) {
        let what = crate::words::request(&command.command);
        let message =
            format!("the log has {what} at index {} under id {}, which no operation of the history is", command.index, command.id);
        certificate.object(Statement::Values, Vec::new(), message);
    }
}
