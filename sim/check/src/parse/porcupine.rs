//! Porcupine's key-value histories: `{:process P, :type :invoke|:ok, :f :get|:put|:append, :key "k", :value "…"}`, one event per
//! line. Time is the line's number.

use std::collections::BTreeMap;

use history::FormatError;

use crate::model::{History, NEVER, Timed};
use crate::models::append::{Action, Append, Op, Ret};

const LINE: &str = r#"`{:process P, :type :invoke|:ok, :f :get|:put|:append, :key "k", :value "…"}`"#;

/// Parses such a history. What is never answered may have happened, or not.
///
/// # Errors
/// [`FormatError::Line`]: a line that is not an event, or an event out of place.
pub fn parse_porcupine(file: &str, text: &str) -> Result<History<Append>, FormatError> {
    let mut history: History<Append> = Vec::new();
    let mut pending: BTreeMap<u64, usize> = BTreeMap::new();
    for (line, text) in text.lines().enumerate().map(|(i, text)| (i + 1, text)) {
        if text.trim().is_empty() {
            continue;
        }
        let wrong = |what: &str| FormatError::Line { file: file.into(), line, what: what.into(), accepted: LINE };
        let event = Event::parse(text.trim()).ok_or_else(|| wrong("this is not an event"))?;
        let time = line as u64;
        let action = match event.f {
            "get" => Action::Get,
            "put" => Action::Put(event.value.unwrap_or("").to_string()),
            "append" => Action::Append(event.value.unwrap_or("").to_string()),
            other => return Err(wrong(&format!("there is no operation `:{other}`"))),
        };
        let op = Op { key: event.key.to_string(), action };
        match event.kind {
            "invoke" => {
                if pending.insert(event.process, history.len()).is_some() {
                    return Err(wrong("the process invokes an operation while another one is pending"));
                }
                history.push(Timed { id: time, op, ret: None, invoke: time, end: NEVER });
            }
            "ok" => {
                let at = pending.remove(&event.process).ok_or_else(|| wrong("the process ends an operation that it did not invoke"))?;
                let timed = &mut history[at];
                if timed.op != op {
                    return Err(wrong("the process ends another operation than it invoked"));
                }
                timed.ret = Some(match op.action {
                    Action::Get => Ret::Value(event.value.unwrap_or("").to_string()),
                    _ => Ret::Done,
                });
                timed.end = time;
            }
            other => return Err(wrong(&format!("there is no event type `:{other}`"))),
        }
    }
    Ok(history)
}

struct Event<'a> {
    process: u64,
    kind: &'a str,
    f: &'a str,
    key: &'a str,
    /// `None`: nil.
    value: Option<&'a str>,
}

impl<'a> Event<'a> {
    fn parse(text: &'a str) -> Option<Event<'a>> {
        let text = text.strip_prefix("{:process ")?.strip_suffix('}')?;
        let (process, text) = text.split_once(", :type :")?;
        let (kind, text) = text.split_once(", :f :")?;
        let (f, text) = text.split_once(", :key \"")?;
        let (key, value) = text.split_once("\", :value ")?;
        let value = if value == "nil" { None } else { Some(value.strip_prefix('"')?.strip_suffix('"')?) };
        Some(Event { process: process.parse().ok()?, kind, f, key, value })
    }
}
