//! Reading a plan. Bad input gets one sentence with file, line, and what would be accepted.

use crate::validate::{Invalid, Place};
use crate::{PLAN_VERSION, Plan};
use serde::Deserialize;
use std::fmt;
use toml::{Spanned, Table, Value};

/// A plan that cannot be used. Displayed as `file:line: sentence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The file's name, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Reads a plan from its TOML; `file` is for error messages.
    ///
    /// # Errors
    /// It is no TOML, not a plan, of another version, or makes no sense.
    pub fn parse(text: &str, file: &str) -> Result<Plan, PlanError> {
        let error = |line, message: String| PlanError { file: file.to_owned(), line, message };
        check_version(text).map_err(|(line, message)| error(line, message))?;
        let plan: Plan = toml::from_str(text).map_err(|e| {
            let (line, message) = readable(text, &e);
            error(line, message)
        })?;
        plan.check().map_err(|Invalid { place, message }| error(line_of(text, &place), message))?;
        Ok(plan)
    }
}

/// A plan of another version may have other fields: say so first.
fn check_version(text: &str) -> Result<(), (usize, String)> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<Spanned<Value>>,
    }
    let Version { version } = toml::from_str(text).map_err(|e| readable(text, &e))?;
    match version {
        Some(v) if *v.get_ref() == Value::Integer(i64::from(PLAN_VERSION)) => Ok(()),
        Some(v) => {
            let line = line_at(text, v.span().start);
            Err((line, format!("plan version {} is not supported; this program reads version {PLAN_VERSION}", v.get_ref())))
        }
        None => Err((1, format!("the plan has no version; it should begin with `version = {PLAN_VERSION}`"))),
    }
}

/// Line and message of an error of the TOML reader. Its message names what would be accepted.
pub(crate) fn readable(text: &str, error: &toml::de::Error) -> (usize, String) {
    let line = error.span().map_or(1, |span| line_at(text, span.start));
    (line, error.message().trim_end().replace('\n', ", "))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}

/// The line of a part of the plan. Reads the text again: errors are rare, and plans need not carry their lines.
fn line_of(text: &str, place: &Place) -> usize {
    #[derive(Deserialize)]
    struct Lists {
        #[serde(default)]
        fault: Vec<Spanned<Table>>,
        #[serde(default)]
        op: Vec<Spanned<Table>>,
    }
    let span = match place {
        Place::Fault(i) => toml::from_str::<Lists>(text).ok().and_then(|l| l.fault.get(*i).map(Spanned::span)),
        Place::Op(i) => toml::from_str::<Lists>(text).ok().and_then(|l| l.op.get(*i).map(Spanned::span)),
        Place::Part(name) => toml::from_str::<std::collections::BTreeMap<String, Spanned<Value>>>(text)
            .ok()
            .and_then(|parts| parts.get(*name).map(Spanned::span)),
    };
    span.map_or(1, |span| line_at(text, span.start))
}
