//! The checkers: what is wrong with a run, from its history and its trace alone.
//!
//! - [`judge()`], [`cross_check`], [`judge_stored`]: is a history linearizable? A stack of levels, cheapest first.
//!   - [`certificate`] (L0): against the final applied log, on a second implementation of the store ([`replay`]); about n log n.
//!   - [`revisions`] (L1): from responses alone, whose revisions determine the order of the writes.
//!   - `zones` (L2): the values of each key by themselves, from responses alone; about n log n.
//!   - [`search`] (L3): for any [`model`]; those of this project are in [`models`].
//!   - [`explain`]: what contradicts what, in a sentence, and a minimal core.
//! - [`parse`]: stored histories, ours and other tools'.
//! - [`online`]: the protocol's invariants, judged while a run goes on.
//!
//! Invariants: no verdict depends on the machine or on what ran before, unless a wall-clock budget is given; out of budget is
//! `unknown`, never `ok`; an illegal history is explained, not only refused.
//!
//! Deliberately absent: any way to make a run, madsim, and the store of `core/kv` (a checker that shares the code under test shares
//! its errors; only its types are used).

pub mod certificate;
pub mod conflict;
pub mod explain;
mod judge;
pub mod model;
pub mod models;
pub mod online;
pub mod parse;
pub mod replay;
pub mod revisions;
pub mod search;
pub mod servers;
mod table;
pub mod words;
mod zones;

pub use explain::Explanation;
pub use judge::*;
pub use search::Budget;
