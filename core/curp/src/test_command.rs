//! The least of all commands, for unit tests: it does nothing, and counts so many bytes.

use serde::{Deserialize, Serialize};

use crate::{Command, ConflictCheck};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nothing(pub usize);

impl ConflictCheck for Nothing {
    fn conflicts(&self, _: &Self) -> bool {
        false
    }
}

impl Command for Nothing {
    type Response = ();
    type Watch = ();
    type WatchResponse = ();

    fn bytes(&self) -> usize {
        self.0
    }
}
