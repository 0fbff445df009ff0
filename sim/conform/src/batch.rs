//! Traces that go through TLC together: the generated module, and the verdicts.
//!
//! One JVM start serves a batch, so a trace and its mutations belong in one; traces that share nothing are as well off apart.

use curp::NodeId;
use history::Stamped;
use std::fmt::Write;

use crate::steps::{ConvertError, Step, steps};
use crate::tables::Tables;
use crate::tlc::{Tlc, TlcError};

/// The generated module's name, which `tla/TraceCurp.tla` extends.
pub(crate) const MODULE: &str = "TraceData";

/// Traces of one cluster.
#[derive(Debug)]
pub struct Batch {
    tables: Tables,
    traces: Vec<Vec<Step>>,
}

/// What became of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The specification allows all of it.
    Accepted,
    /// It allows everything before this step, and not this step.
    Rejected(Rejection),
}

/// The first step that the specification does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place among the trace's steps, from 0.
    pub step: usize,
    /// Position of its event in the trace, from 0.
    pub position: usize,
    /// The event's own number.
    pub event: u64,
    /// The action that it would have been.
    pub action: &'static str,
}

impl Batch {
    /// An empty batch of traces of a cluster that was made with these voters.
    pub fn new(voters: &[NodeId]) -> Batch {
        Batch { tables: Tables::new(voters), traces: Vec::new() }
    }

    /// Adds a trace; gives how many steps it has.
    ///
    /// # Errors
    /// [`ConvertError`]: the trace cannot be told in steps.
    pub fn add(&mut self, events: &[Stamped]) -> Result<usize, ConvertError> {
        let steps = steps(&mut self.tables, events)?;
        let count = steps.len();
        self.traces.push(steps);
        Ok(count)
    }

    /// The steps of each trace, in the order added.
    pub fn traces(&self) -> &[Vec<Step>] {
        &self.traces
    }

    /// The generated module.
    pub fn module(&self) -> String {
        let mut text = format!("---- MODULE {MODULE} ----\nEXTENDS Integers, Sequences\n");
        for (name, value) in self.tables.definitions() {
            writeln!(text, "{name} == {value}").expect("a string takes everything");
        }
        for (number, trace) in self.traces.iter().enumerate() {
            let separator = |i: usize| if i == 0 { "" } else { ",\n" };
            writeln!(text, "Trace{} == <<", number + 1).expect("a string takes everything");
            for (i, step) in trace.iter().enumerate() {
                write!(text, "{}{}", separator(i), step.record).expect("a string takes everything");
            }
            text.push_str(">>\n");
        }
        let names: Vec<String> = (1..=self.traces.len()).map(|number| format!("Trace{number}")).collect();
        write!(text, "Traces == <<{}>>\n====\n", names.join(", ")).expect("a string takes everything");
        text
    }

    /// Has TLC walk along each trace; the verdicts in the order added.
    ///
    /// # Errors
    /// [`TlcError`]: TLC did not come to an end of its own.
    pub fn check(&self, tlc: &Tlc) -> Result<Vec<Verdict>, TlcError> {
        let reached = tlc.run(MODULE, &self.module(), self.traces.len())?;
        Ok(self.traces.iter().zip(reached).map(|(trace, reached)| verdict(trace, reached)).collect())
    }
}

/// `reached` is the number of steps that the specification allows, counted from the first.
fn verdict(trace: &[Step], reached: usize) -> Verdict {
    match trace.get(reached) {
        None => Verdict::Accepted,
        Some(step) => {
            let Step { position, event, action, .. } = *step;
            Verdict::Rejected(Rejection { step: reached, position, event, action })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Trace};

    #[test]
    fn the_module_reads_as_it_should() {
        let mut trace = Trace::new();
        trace.propose(samples::id(1), "k");
        trace.node(2, samples::witness_record(samples::id(1), "k"));
        let mut batch = Batch::new(&[1, 2, 3]);
        assert_eq!(batch.add(&trace.events), Ok(2));
        assert_eq!(batch.add(&trace.events[..1]), Ok(1));
        let expected = r#"---- MODULE TraceData ----
EXTENDS Integers, Sequences
TNode == {1, 2, 3}
TVoters == {1, 2, 3}
TMaxTerm == 2
TClients == {2}
TCmds == <<[cl |-> 2, seq |-> 1, fi |-> 1, rd |-> {}, wr |-> {1}, all |-> FALSE]>>
TReads == <<>>
Trace1 == <<
[a |-> "Propose", i |-> 0, c |-> 1, fi |-> 1],
[a |-> "WitnessRecord", i |-> 1, n |-> 2, c |-> 1, t |-> 1, asked |-> 1, ver |-> <<0, 0>>, new |-> TRUE, fi |-> 1]>>
Trace2 == <<
[a |-> "Propose", i |-> 0, c |-> 1, fi |-> 1]>>
Traces == <<Trace1, Trace2>>
====
"#;
        assert_eq!(batch.module(), expected);
    }

    #[test]
    fn how_far_it_got_is_the_verdict() {
        let mut trace = Trace::new();
        trace.crash_of_client(1);
        trace.propose(samples::id(1), "k");
        trace.propose(samples::id(2), "k");
        let mut batch = Batch::new(&[1, 2, 3]);
        batch.add(&trace.events).unwrap();
        let steps = &batch.traces()[0];
        assert_eq!(verdict(steps, 2), Verdict::Accepted);
        assert_eq!(verdict(steps, 1), Verdict::Rejected(Rejection { step: 1, position: 2, event: 2, action: "Propose" }));
    }
}
