//! Traces held against the TLA+ specification.
//!
//! A trace's events become steps of the specification ([`steps`]), named by small numbers ([`Tables`]); one or several traces become
//! a generated module ([`Batch`]); TLC walks the specification along each of them ([`Tlc`]), and how far it got is the verdict. [`mutate`] makes
//! traces that must be refused.
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
