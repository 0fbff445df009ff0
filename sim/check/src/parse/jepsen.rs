//! Jepsen's logs of one etcd register: `INFO jepsen.util - PROC :invoke|:ok|:fail|:info :read|:write|:cas VALUE`. Other lines
//! of a log are skipped. Time is the line's number.

use std::collections::BTreeMap;

use history::FormatError;

use crate::model::{History, NEVER, Timed};
use crate::models::register::{Op, Register, Ret};

const LINE: &str = "`INFO jepsen.util - PROC :invoke|:ok|:fail|:info :read|:write|:cas VALUE`";

/// Parses a Jepsen log. An outcome `:info` (or none at all) leaves a write open to the end, a failed read says nothing, and a
/// failed compare-and-set means that the register did not hold the expected value.
///
/// # Errors
/// [`FormatError::Line`]: a line of `jepsen.util` that is not an event, or an event out of place.
pub fn parse_jepsen(file: &str, text: &str) -> Result<History<Register>, FormatError> {
    let mut history: History<Register> = Vec::new();
    let mut pending: BTreeMap<u64, usize> = BTreeMap::new();
    let mut ignored = Vec::new();
    for (line, text) in text.lines().enumerate().map(|(i, text)| (i + 1, text)) {
        let Some((_, event)) = text.split_once("jepsen.util - ") else { continue };
        let wrong = |what: String| FormatError::Line { file: file.into(), line, what, accepted: LINE };
        let mut words = event.split_whitespace();
        let (process, kind, action) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let value = words.collect::<Vec<_>>().join(" ");
        let Ok(process) = process.parse::<u64>() else {
            // Jepsen's nemesis logs through the same channel.
            if process.starts_with(':') {
                continue;
            }
            return Err(wrong(format!("`{process}` is not a process number")));
        };
        let time = line as u64;
        if kind == ":invoke" {
            let op = operation(action, &value).ok_or_else(|| wrong(format!("`{action} {value}` is not an operation")))?;
            if pending.insert(process, history.len()).is_some() {
                return Err(wrong(format!("process {process} invokes an operation while another one is pending")));
            }
            history.push(Timed { id: time, op, ret: None, invoke: time, end: NEVER });
            continue;
        }
        let not_pending = || wrong(format!("process {process} ends an operation that it did not invoke"));
        let at = pending.remove(&process).ok_or_else(not_pending)?;
        let op = &mut history[at];
        op.ret = match (kind, action, &op.op) {
            (":ok", ":read", Op::Read) if value == "nil" => Some(Ret::Value(None)),
            (":ok", ":read", Op::Read) => {
                Some(Ret::Value(Some(value.parse().map_err(|_| wrong(format!("a read returned `{value}`, which is no number")))?)))
            }
            (":ok", ":write", Op::Write(_)) => Some(Ret::Written),
            (":ok", ":cas", Op::Cas(..)) => Some(Ret::Swapped(true)),
            (":fail", ":cas", Op::Cas(..)) => Some(Ret::Swapped(false)),
            (":fail", ":read", Op::Read) | (":fail", ":write", Op::Write(_)) => {
                ignored.push(at);
                continue;
            }
            (":info", ..) => continue,
            _ => return Err(wrong(format!("`{kind} {action} {value}` does not end {:?}", op.op))),
        };
        op.end = time;
    }
    ignored.sort_unstable();
    let mut at = 0..;
    history.retain(|_| at.next().is_some_and(|i: usize| ignored.binary_search(&i).is_err()));
    Ok(history)
}

fn operation(action: &str, value: &str) -> Option<Op> {
    match action {
        ":read" => Some(Op::Read),
        ":write" => Some(Op::Write(value.parse().ok()?)),
        ":cas" => {
            let (from, to) = value.strip_prefix('[')?.strip_suffix(']')?.split_once(' ')?;
            Some(Op::Cas(from.parse().ok()?, to.parse().ok()?))
        }
        _ => None,
    }
}
