//! Stored histories, ours or another tool's. The format is recognised by what the file begins with.

mod jepsen;
mod porcupine;

use std::path::Path;

use history::{FormatError, Operation, parse_history};

use crate::model::History;
use crate::models::append::Append;
use crate::models::register::Register;

pub use jepsen::parse_jepsen;
pub use porcupine::parse_porcupine;

/// A history, with the model it is to be held against.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Ours (`history.jsonl`): etcd's operations.
    Kv(Vec<Operation>),
    /// Jepsen's log of one register.
    Register(History<Register>),
    /// Porcupine's test data: a string for every key.
    Append(History<Append>),
}

impl Stored {
    /// How many operations it has.
    pub fn len(&self) -> usize {
        match self {
            Stored::Kv(history) => history.len(),
            Stored::Register(history) => history.len(),
            Stored::Append(history) => history.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of the model, as on the command line: `kv`, `register`, `cas-register` or `append`.
    pub fn model(&self) -> &'static str {
        match self {
            Stored::Kv(_) => "kv",
            Stored::Register(history) if history.iter().any(|op| matches!(op.op, crate::models::register::Op::Cas(..))) => "cas-register",
            Stored::Register(_) => "register",
            Stored::Append(_) => "append",
        }
    }
}

/// Reads a stored history of any known format.
///
/// # Errors
/// [`FormatError`]: the file cannot be read, is of no known format, or a line of it is wrong.
pub fn read_any(path: &Path) -> Result<Stored, FormatError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse_any(&file, &text),
        Err(source) => Err(FormatError::Io { file, doing: "read", source }),
    }
}

/// Parses a history of any known format; `file` is for error messages only.
///
/// # Errors
/// [`FormatError`]: of no known format, or a line is wrong.
pub fn parse_any(file: &str, text: &str) -> Result<Stored, FormatError> {
    let accepted = "a history.jsonl, a Jepsen log (INFO jepsen.util - …) or Porcupine's {:process …} lines";
    let Some((line, first)) = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim_start())).find(|(_, l)| !l.is_empty()) else {
        return Err(FormatError::Empty { file: file.into(), accepted });
    };
    if first.starts_with("{:") {
        parse_porcupine(file, text).map(Stored::Append)
    } else if first.starts_with('{') {
        parse_history(file, text).map(Stored::Kv)
    } else if text.lines().take(50).any(|l| l.contains("jepsen.util")) {
        parse_jepsen(file, text).map(Stored::Register)
    } else {
        let begin: String = first.chars().take(40).collect();
        Err(FormatError::Line { file: file.into(), line, what: format!("no known history begins with `{begin}`"), accepted })
    }
}
