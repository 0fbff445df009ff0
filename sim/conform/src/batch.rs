//! Traces that go through TLC together: the generated modules, and the verdicts.
//!
//! One JVM start serves a batch, and another one its leases, if it has any; so a trace and its mutations belong in one, and traces that share
//! nothing are as well off apart.

use curp::NodeId;
use history::Stamped;
use kv::LeaseId;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::lease::{Bounds, projections};
use crate::steps::{ConvertError, Step, steps};
use crate::tables::Tables;
use crate::tlc::{Specification, Tlc, TlcError};
use crate::value::Value;

/// Traces of one cluster.
#[derive(Debug)]
pub struct Batch {
    tables: Tables,
    traces: Vec<Trace>,
    /// Bound on the drift of clocks, in parts per million.
    drift_ppm: u32,
    bounds: Bounds,
    /// What traces say of leases. A mutation says of most what its base says.
    leases: Vec<Vec<Step>>,
    /// The same by its words, to find it again.
    known: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Trace {
    steps: Vec<Step>,
    /// For each lease, where it stands in `leases`, and the positions of its own steps' events.
    leases: Vec<(LeaseId, usize, Vec<usize>)>,
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
    /// Whether it is a step of the specification of one lease, and of which.
    pub lease: Option<LeaseId>,
    /// Its place among the trace's steps of that specification, from 0.
    pub step: usize,
    /// Position of its event in the trace, from 0.
    pub position: usize,
    /// The event's own number.
    pub event: u64,
    /// The action that it would have been.
    pub action: &'static str,
}

impl Batch {
    /// An empty batch of traces of a cluster that was made with these voters, and whose clocks, nodes' and clients', drift by so many parts per
    /// million at most.
    pub fn new(voters: &[NodeId], drift_ppm: u32) -> Batch {
        Batch {
            tables: Tables::new(voters),
            traces: Vec::new(),
            drift_ppm,
            bounds: Bounds::default(),
            leases: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// Adds a trace; gives how many steps it has.
    ///
    /// # Errors
    /// [`ConvertError`]: the trace cannot be told in steps.
    pub fn add(&mut self, events: &[Stamped]) -> Result<usize, ConvertError> {
        let steps = steps(&mut self.tables, events)?;
        let count = steps.len();
        let mut leases = Vec::new();
        for projection in projections(&mut self.bounds, events)? {
            let positions = projection.steps.iter().map(|step| step.position).collect();
            let next = self.leases.len();
            let place = *self.known.entry(listed(&projection.steps)).or_insert(next);
            if place == next {
                self.leases.push(projection.steps);
            }
            leases.push((projection.lease, place, positions));
        }
        self.traces.push(Trace { steps, leases });
        Ok(count)
    }

    /// The steps of each trace, in the order added.
    pub fn traces(&self) -> impl Iterator<Item = &[Step]> {
        self.traces.iter().map(|trace| trace.steps.as_slice())
    }

    /// How many leases the traces speak of, those counted once of which they say the same.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Has TLC walk along each trace, and along what it says of each lease; the verdicts in the order added. What is refused first counts.
    ///
    /// # Errors
    /// [`TlcError`]: TLC did not come to an end of its own.
    pub fn check(&self, tlc: &Tlc) -> Result<Vec<Verdict>, TlcError> {
        let traces: Vec<&[Step]> = self.traces().collect();
        let reached = tlc.run(Specification::Curp, &defined(&self.tables.definitions(), &traces), traces.len())?;
        let verdict = |((trace, reached), of_leases): ((&Trace, usize), Option<Rejection>)| {
            let own = rejection(&trace.steps, reached);
            let first = own.into_iter().chain(of_leases).min_by_key(|found| (found.position, found.lease.is_some()));
            first.map_or(Verdict::Accepted, Verdict::Rejected)
        };
        Ok(self.traces.iter().zip(reached).zip(self.check_leases(tlc)?).map(verdict).collect())
    }

    /// The same of what the traces say of leases, alone.
    pub(crate) fn check_leases(&self, tlc: &Tlc) -> Result<Vec<Option<Rejection>>, TlcError> {
        let leases: Vec<&[Step]> = self.leases.iter().map(Vec::as_slice).collect();
        let reached = match leases.len() {
            0 => Vec::new(),
            count => tlc.run(Specification::Lease, &defined(&self.bounds.definitions(self.drift_ppm), &leases), count)?,
        };
        let first = |trace: &Trace| {
            let found = trace.leases.iter().filter_map(|(lease, place, positions)| {
                let found = rejection(&self.leases[*place], reached[*place])?;
                Some(Rejection { lease: Some(*lease), position: positions[found.step], ..found })
            });
            found.min_by_key(|found| found.position)
        };
        Ok(self.traces.iter().map(first).collect())
    }
}

/// `reached` is the number of steps that the specification allows, counted from the first.
fn rejection(steps: &[Step], reached: usize) -> Option<Rejection> {
    let Step { position, event, action, .. } = *steps.get(reached)?;
    Some(Rejection { lease: None, step: reached, position, event, action })
}

/// A generated module's definitions.
fn defined(constants: &[(&'static str, Value)], traces: &[&[Step]]) -> String {
    let mut text = String::new();
    for (name, value) in constants {
        writeln!(text, "{name} == {value}").expect("a string takes everything");
    }
    for (number, trace) in traces.iter().enumerate() {
        writeln!(text, "Trace{} == {}", number + 1, listed(trace)).expect("a string takes everything");
    }
    let names: Vec<String> = (1..=traces.len()).map(|number| format!("Trace{number}")).collect();
    writeln!(text, "Traces == <<{}>>", names.join(", ")).expect("a string takes everything");
    text
}

/// A trace as TLA+ has it.
fn listed(steps: &[Step]) -> String {
    let mut text = String::from("<<\n");
    for (i, step) in steps.iter().enumerate() {
        write!(text, "{}{}", if i == 0 { "" } else { ",\n" }, step.record).expect("a string takes everything");
    }
    text + ">>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Trace as Made};

    #[test]
    fn the_module_reads_as_it_should() {
        let mut trace = Made::new();
        trace.propose(samples::id(1), "k");
        trace.node(2, samples::witness_record(samples::id(1), "k"));
        let mut batch = Batch::new(&[1, 2, 3], 0);
        assert_eq!(batch.add(&trace.events), Ok(2));
        assert_eq!(batch.add(&trace.events[..1]), Ok(1));
        let expected = r#"TNode == {1, 2, 3}
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
"#;
        let traces: Vec<&[Step]> = batch.traces().collect();
        assert_eq!(defined(&batch.tables.definitions(), &traces), expected);
        assert_eq!(batch.leases(), 0);
    }

    #[test]
    fn how_far_it_got_is_the_verdict() {
        let mut trace = Made::new();
        trace.crash_of_client(1);
        trace.propose(samples::id(1), "k");
        trace.propose(samples::id(2), "k");
        let mut batch = Batch::new(&[1, 2, 3], 0);
        batch.add(&trace.events).unwrap();
        let steps = batch.traces().next().unwrap();
        assert_eq!(rejection(steps, 2), None);
        assert_eq!(rejection(steps, 1), Some(Rejection { lease: None, step: 1, position: 2, event: 2, action: "Propose" }));
    }
}
