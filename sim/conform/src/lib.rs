//! Traces held against the TLA+ specification.
//!
//! A trace's events become steps of the specification ([`steps`]), named by small numbers ([`Tables`]), and for each lease that it names
//! steps of the specification of one lease; one or several traces become generated modules ([`Batch`]); TLC walks the specifications along each
//! of them ([`Tlc`]), and how far it got is the verdict. [`mutate`] makes traces that must be refused.
//!
//! Invariant: a verdict is given only where TLC ended well. Whatever else it says is an error, never a rejection.
//!
//! Deliberately absent: any judgement of its own (the specification judges), and any way to make a run. What a trace says that no step carries
//! (results, revisions, hashes) is judged by sim/check.

mod batch;
mod disk;
mod footprint;
#[cfg(test)]
mod handmade;
mod lease;
pub mod mutate;
#[cfg(test)]
mod samples;
mod steps;
mod tables;
mod tlc;
mod value;

pub use batch::{Batch, Rejection, Verdict};
pub use steps::{ConvertError, Step, steps};
pub use tables::Tables;
pub use tlc::{Missing, Tlc, TlcError};
pub use value::Value;
