//! Serializable reads: any node may answer them, from what it has applied, however old. So there is no real time to keep but one: what a read
//! reflects was asked for before the read was answered. That its answer is that of its prefix, the replay says.
//!
//! Deliberately absent: that a client's reads do not go back. A node that starts again serves what it has applied so far, which may be less than what
//! it served before; clients are told no more than "a prefix".

use history::Operation;

use super::place::Places;
use super::{Certificate, Statement, is_serializable, named};

/// No prefix read has a command in it that was invoked after the read's answer.
pub(super) fn not_of_the_future(history: &[Operation], places: &Places, certificate: &mut Certificate) {
    // The latest invocation so far, and whose it is.
    let mut latest: Option<(u64, u32)> = None;
    for gap in 0..=places.commands() {
        for &read in places.reads(gap) {
            let operation = &history[read as usize];
            let answered = operation.first_response_at().unwrap_or(u64::MAX);
            if let Some((_, command)) = latest.filter(|(invoke, _)| is_serializable(&operation.op) && *invoke > answered) {
                let command = &history[command as usize];
                let message =
                    format!("{} was answered from a prefix that has {}, which was invoked only later", named(operation), named(command));
                certificate.object(Statement::Prefix, vec![operation.id, command.id], message);
            }
        }
        if let Some(operation) = (gap < places.commands()).then(|| places.operation_at(gap)).flatten() {
            latest = latest.max(Some((history[operation as usize].invoke, operation)));
        }
    }
}
