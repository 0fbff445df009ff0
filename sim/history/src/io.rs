//! Reading and writing `history.jsonl` and `trace.ndjson`. Unknown fields are skipped (a later version may add some); whatever
//! else is odd is refused with its line, since a verdict over a half-read file would be a lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use curp::Event as NodeEvent;
use kv::Request;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ClientEvent, FormatError, Operation, Stamped, TRACE_FORMAT, TraceHeader, WorldEvent};

const OPERATION: &str =
    r#"one operation as a JSON object: {"id","client","op","invoke","return","outcome","fast","fast_at","synced","synced_at"}"#;
const EVENT: &str = r#"one event as a JSON object: {"i","t","node","event",…fields}"#;
const HEADER: &str = r#"a first line {"format":3,"engine","scenario","seed","voters"}"#;

/// Reads a `history.jsonl`.
///
/// # Errors
/// [`FormatError`]: the file cannot be read, or a line of it is not an operation, or contradicts itself.
pub fn read_history(path: &Path) -> Result<Vec<Operation>, FormatError> {
    parse_history(&path.display().to_string(), &read(path)?)
}

/// Parses a history; `file` is only for error messages. An empty text is an empty history.
///
/// # Errors
/// [`FormatError`]: a line is not an operation, or contradicts itself, or repeats an id.
pub fn parse_history(file: &str, text: &str) -> Result<Vec<Operation>, FormatError> {
    let mut history: Vec<Operation> = Vec::new();
    let mut line_of = BTreeMap::new();
    for (line, text) in lines(text) {
        let operation: Operation = parse(file, line, text, OPERATION)?;
        if let Some(what) = operation.contradiction() {
            return Err(FormatError::Line { file: file.into(), line, what, accepted: OPERATION });
        }
        if let Some(first) = line_of.insert(operation.id, line) {
            let what = format!("operation {} stands on line {first} already", operation.id);
            return Err(FormatError::Line { file: file.into(), line, what, accepted: "an id of its own for every operation" });
        }
        history.push(operation);
    }
    Ok(history)
}

/// Writes a `history.jsonl`.
///
/// # Errors
/// [`FormatError::Io`].
pub fn write_history(path: &Path, history: &[Operation]) -> Result<(), FormatError> {
    write(path, |out| history.iter().try_for_each(|operation| json_line(out, operation)))
}

/// Reads a `trace.ndjson`: its header and its events.
///
/// # Errors
/// [`FormatError`]: the file cannot be read, its header is missing or of another version, or a line is not an event.
pub fn read_trace(path: &Path) -> Result<(TraceHeader, Vec<Stamped>), FormatError> {
    parse_trace(&path.display().to_string(), &read(path)?)
}

/// Parses a trace; `file` is only for error messages.
///
/// # Errors
/// [`FormatError`]: the header is missing or of another version, or a line is not an event.
pub fn parse_trace(file: &str, text: &str) -> Result<(TraceHeader, Vec<Stamped>), FormatError> {
    let mut lines = lines(text);
    let (line, first) = lines.next().ok_or_else(|| FormatError::Empty { file: file.into(), accepted: HEADER })?;
    let header: TraceHeader = parse(file, line, first, HEADER)?;
    if header.format != TRACE_FORMAT {
        let what = format!("this trace has format version {}", header.format);
        return Err(FormatError::Line { file: file.into(), line, what, accepted: "version 3" });
    }
    let mut events: Vec<Stamped> = Vec::new();
    for (line, text) in lines {
        let event: Stamped = parse(file, line, text, EVENT).map_err(|error| better(error, text))?;
        if event.i != events.len() as u64 {
            let what = format!("event {} follows {} events", event.i, events.len());
            return Err(FormatError::Line { file: file.into(), line, what, accepted: "events numbered 0, 1, 2, … without a gap" });
        }
        events.push(event);
    }
    Ok((header, events))
}

/// Writes a `trace.ndjson`.
///
/// # Errors
/// [`FormatError::Io`].
pub fn write_trace(path: &Path, header: &TraceHeader, events: &[Stamped]) -> Result<(), FormatError> {
    write(path, |out| {
        json_line(out, header)?;
        events.iter().try_for_each(|event| json_line(out, event))
    })
}

fn read(path: &Path) -> Result<String, FormatError> {
    fs::read_to_string(path).map_err(|source| FormatError::Io { file: path.display().to_string(), doing: "read", source })
}

fn write(path: &Path, body: impl FnOnce(&mut BufWriter<fs::File>) -> std::io::Result<()>) -> Result<(), FormatError> {
    let written = fs::File::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        body(&mut out)?;
        out.flush()
    });
    written.map_err(|source| FormatError::Io { file: path.display().to_string(), doing: "written", source })
}

fn json_line(out: &mut impl Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The lines that are not blank, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim().is_empty())
}

/// Parses one line. Only the last line of a file can lack its newline; when it does not parse either, it broke off.
fn parse<T: DeserializeOwned>(file: &str, line: usize, text: &str, accepted: &'static str) -> Result<T, FormatError> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_eof() && !text.ends_with('\n') {
            return FormatError::Truncated { file: file.into(), line, accepted };
        }
        FormatError::Line { file: file.into(), line, what: says(&error), accepted }
    })
}

/// What serde_json says, without its own line number (it counts within the one line it was given).
fn says(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    if error.is_data() { said.to_string() } else { format!("not JSON ({said}, column {})", error.column()) }
}

/// serde says only that an event "did not match any variant": finds the family that knows the event's name, and what it misses.
fn better(error: FormatError, text: &str) -> FormatError {
    let FormatError::Line { file, line, what, accepted } = error else { return error };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return FormatError::Line { file, line, what, accepted } };
    let Some(name) = value.get("event").and_then(Value::as_str) else {
        return FormatError::Line { file, line, what: "there is no `event` with a name".into(), accepted };
    };
    let tries =
        [NodeEvent::<Request>::deserialize(&value).err(), ClientEvent::deserialize(&value).err(), WorldEvent::deserialize(&value).err()];
    let specific = tries.into_iter().flatten().map(|e| e.to_string()).find(|e| !e.starts_with("unknown variant"));
    let what = match specific {
        Some(missing) if what.contains("did not match") => format!("{name}: {missing}"),
        None => format!("there is no event named `{name}`"),
        Some(_) => what,
    };
    FormatError::Line { file, line, what, accepted }
}
