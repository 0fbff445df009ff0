//! How deep a txn may stand in txns when it is decoded. Decoding recurses, and a message of some bytes for each level would otherwise be
//! enough to overflow the stack of whoever reads it, before [`Request::check`](crate::Request::check) is ever asked. Nothing that is
//! acceptable is refused here.

use std::cell::Cell;

use serde::de::{Deserialize, Deserializer, Error};

use crate::TXN_OPS_MAX;

/// The deepest that a valid txn can be: one operation for each level, and none in the last.
const DEPTH_MAX: usize = TXN_OPS_MAX + 1;

// A decoder carries nothing from level to level, and no level runs on after the one around it.
thread_local! { static DEPTH: Cell<usize> = const { Cell::new(0) }; }

/// A level of txns, which ends when this is dropped.
struct Level;

impl Level {
    fn enter() -> Option<Level> {
        let depth = DEPTH.get();
        (depth < DEPTH_MAX).then(|| {
            DEPTH.set(depth + 1);
            Level
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// What stands in a txn.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let Some(_level) = Level::enter() else { return Err(D::Error::custom("txns stand in txns too deeply")) };
    Vec::deserialize(deserializer)
}
