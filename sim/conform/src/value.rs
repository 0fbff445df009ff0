//! Values of TLA+, and how they are written. Only what a step or a table needs.

use std::fmt::{self, Write};

/// The greatest number TLC computes with.
pub(crate) const INT_MAX: u64 = i32::MAX as u64;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number from 0 on.
    Int(u64),
    /// TRUE or FALSE.
    Bool(bool),
    /// A string without quotes or backslashes.
    Text(&'static str),
    /// A set, in whatever order; a repeated member counts once.
    Set(Vec<Value>),
    /// A sequence.
    Seq(Vec<Value>),
    /// A record.
    Record(Vec<(&'static str, Value)>),
}

impl Value {
    /// A set of numbers.
    pub fn ints(numbers: impl IntoIterator<Item = impl Into<u64>>) -> Value {
        Value::Set(numbers.into_iter().map(|n| Value::Int(n.into())).collect())
    }

    /// A field of a record.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Record(fields) => fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value),
            Value::Int(_) | Value::Bool(_) | Value::Text(_) | Value::Set(_) | Value::Seq(_) => None,
        }
    }

    /// The first number in it that TLC could not compute with.
    pub(crate) fn too_large(&self) -> Option<u64> {
        match self {
            Value::Int(n) => (*n > INT_MAX).then_some(*n),
            Value::Bool(_) | Value::Text(_) => None,
            Value::Set(values) | Value::Seq(values) => values.iter().find_map(Value::too_large),
            Value::Record(fields) => fields.iter().find_map(|(_, value)| value.too_large()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(n) => write!(f, "{n}"),
            Value::Bool(b) => f.write_str(if *b { "TRUE" } else { "FALSE" }),
            Value::Text(text) => write!(f, "\"{text}\""),
            Value::Set(values) => list(f, "{", values, "}"),
            Value::Seq(values) => list(f, "<<", values, ">>"),
            Value::Record(fields) => {
                f.write_char('[')?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name} |-> {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, values: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (i, value) in values.iter().enumerate() {
        write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_tla_reads_them() {
        let value = Value::Record(vec![
            ("a", Value::Text("Matched")),
            ("k", Value::Int(3)),
            ("q", Value::ints([1u32, 2])),
            ("es", Value::Seq(vec![Value::Bool(true), Value::Bool(false)])),
            ("none", Value::Set(vec![])),
            ("empty", Value::Seq(vec![])),
        ]);
        let written = "[a |-> \"Matched\", k |-> 3, q |-> {1, 2}, es |-> <<TRUE, FALSE>>, none |-> {}, empty |-> <<>>]";
        assert_eq!(value.to_string(), written);
        assert_eq!(value.get("k"), Some(&Value::Int(3)));
        assert_eq!(value.get("z"), None);
    }

    #[test]
    fn numbers_beyond_tlcs_are_found() {
        let value = Value::Seq(vec![Value::Int(INT_MAX), Value::Set(vec![Value::Int(INT_MAX + 1)])]);
        assert_eq!(value.too_large(), Some(INT_MAX + 1));
        assert_eq!(Value::Int(INT_MAX).too_large(), None);
    }
}
