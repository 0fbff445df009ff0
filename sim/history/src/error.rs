//! What can be wrong with a stored history or trace: one sentence each, for people.

use thiserror::Error;

/// A file that is not what it should be. [`Display`](std::fmt::Display) gives one sentence with file, line and what would be accepted.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The file cannot be opened, read or written.
    #[error("{file}: cannot be {doing}: {source}")]
    Io {
        /// The file.
        file: String,
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is not one of its format.
    #[error("{file}, line {line}: {what}; accepted is {accepted}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The last line breaks off.
    #[error("{file}, line {line}: the file ends in the middle of this line (it is truncated); accepted is {accepted}")]
    Truncated {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The file has nothing in it that should be there.
    #[error("{file}, line 1: the file is empty; accepted is {accepted}")]
    Empty {
        /// The file.
        file: String,
        /// What would be accepted.
        accepted: &'static str,
    },
}
