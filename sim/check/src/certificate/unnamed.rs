//! Operations that came in through a node, which proposed them under an id of its own: the history has neither id nor applied index of them. All
//! of them are answered by synced responses, whose revisions say where they stand.
//!
//! A command is the one in the log that nobody else is, with that request, revision and response; of several alike, which make no revision, those
//! that were answered first stand first. A read stands at its revision, behind what was answered before it was invoked, so that the sweeps over real
//! time object only to what no place could mend.

use history::{AppliedCommand, Operation};
use kv::Response;

use super::place::NOBODY;
use super::{Certificate, Statement, is_answered_by_the_clock, is_serializable, may_write, named};
use crate::replay::{Agreement, FIRST_REVISION, Replay, agreement};

/// Places the commands among `operations`; gives the reads with their gaps.
pub(super) fn place(
    history: &[Operation],
    log: &[AppliedCommand],
    operations: &mut [u32],
    certificate: &mut Certificate,
) -> Vec<(u32, u32)> {
    let is_unnamed = |o: &Operation| {
        let has_place = o.propose_id.is_some() || o.applied_index.is_some() || o.synced.is_none();
        !has_place && !is_serializable(&o.op) && !is_answered_by_the_clock(&o.op)
    };
    let mut unnamed: Vec<u32> = (0..history.len() as u32).filter(|&i| is_unnamed(&history[i as usize])).collect();
    if unnamed.is_empty() {
        return Vec::new();
    }
    unnamed.sort_by_key(|&i| history[i as usize].synced_at);
    let after = replayed(log);
    for &i in unnamed.iter().filter(|&&i| may_write(&history[i as usize].op)) {
        let operation = &history[i as usize];
        let Some(synced) = &operation.synced else { continue };
        let is_it = |place: usize| {
            let (revision, response) = &after[place];
            operations[place] == NOBODY
                && log[place].command == operation.op
                && *revision == synced.header.revision
                && agreement(response, &synced.response, None) == Agreement::Full
        };
        match (0..log.len()).find(|&place| is_it(place)) {
            Some(place) => operations[place] = i,
            None => {
                let message = format!("{} was acknowledged, and no command of the final log has its revision and answer", named(operation));
                certificate.object(Statement::Values, vec![operation.id], message);
            }
        }
    }
    let mut reads = Vec::new();
    for &i in unnamed.iter().filter(|&&i| !may_write(&history[i as usize].op)) {
        let operation = &history[i as usize];
        let Some(revision) = operation.synced.as_ref().map(|synced| synced.header.revision) else { continue };
        // The gaps at which the revision is that one.
        let before = |gap: usize| gap.checked_sub(1).map_or(FIRST_REVISION, |place| after[place].0);
        let gaps = (0..=log.len()).filter(|&gap| before(gap) == revision);
        let answered =
            |place: usize| history.get(operations[place] as usize).and_then(|o| o.synced_at).is_some_and(|at| at < operation.invoke);
        let (Some(first), Some(last)) = (gaps.clone().min(), gaps.max()) else {
            let message = format!("{} carries revision {revision}, which the final log never had", named(operation));
            certificate.object(Statement::Values, vec![operation.id], message);
            continue;
        };
        let gap = (first..last).rev().find(|&place| answered(place)).map_or(first, |place| place + 1);
        reads.push((gap as u32, i));
    }
    reads
}

/// The revision after each command, and its response.
fn replayed(log: &[AppliedCommand]) -> Vec<(u64, Response)> {
    let mut store = Replay::default();
    let each = log.iter().map(|command| {
        let response = store.apply(&command.command);
        (store.revision(), response)
    });
    each.collect()
}
