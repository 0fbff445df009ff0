//! Two kinds of failure of the tool itself: the caller's (one clear sentence, exit 64), and everything else, which is ours (exit 70).

use std::fmt;

/// Exit status for bad input.
pub const EXIT_USAGE: i32 = 64;
/// Exit status when the harness itself failed.
pub const EXIT_HARNESS: i32 = 70;

/// Bad input, in one sentence that says what would be accepted.
#[derive(Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error that is the caller's to mend.
pub fn usage(sentence: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(sentence.into()))
}

/// The exit status of a command that ended with this error.
pub fn exit_code(error: &anyhow::Error) -> i32 {
    if error.chain().any(|cause| cause.is::<Usage>()) { EXIT_USAGE } else { EXIT_HARNESS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_usage_error_stays_one_under_context() {
        let error = Err::<(), _>(usage("no such scenario")).context("while reading").unwrap_err();
        assert_eq!(exit_code(&error), EXIT_USAGE);
        assert_eq!(exit_code(&anyhow::anyhow!("disk on fire")), EXIT_HARNESS);
    }
}
