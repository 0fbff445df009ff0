//! The trace hash: one number that two runs share exactly if they are the same run, event by event.
//!
//! XXH3-64 over postcard's encoding of (time, node, client, event) for each event. Both are stable by specification. The
//! event's number is left out: it says nothing that the order does not. Independent of JSON, of log level, and of who listens.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::{ClientEvent, Event, Stamped, WorldEvent};

/// Encoded bytes wait here until there are this many: the hash likes long inputs.
const FLUSH_BYTES: usize = 4096;

/// A streaming hash over the events of a run.
#[derive(Clone)]
pub struct TraceHash {
    hasher: Xxh3,
    buffer: Vec<u8>,
}

impl Default for TraceHash {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceHash {
    /// The hash of no events.
    pub fn new() -> Self {
        TraceHash { hasher: Xxh3::new(), buffer: Vec::with_capacity(2 * FLUSH_BYTES) }
    }

    /// Takes in the next event.
    pub fn update(&mut self, event: &Stamped) {
        self.encode(&(event.t, event.node, event.client));
        match &event.event {
            // serde writes these two with a flattened or a left-out field, which postcard cannot, or not without ambiguity.
            Event::World(WorldEvent::Send { to, promise }) => self.encode(&("Send", to, promise)),
            Event::Client(ClientEvent::Propose { op, id, first_incomplete, read, request }) => {
                self.encode(&("Propose", op, id, first_incomplete, read, request))
            }
            event => self.encode(event),
        }
        if self.buffer.len() >= FLUSH_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The hash of the events so far.
    pub fn finish(&self) -> u64 {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.buffer);
        hasher.digest()
    }

    fn encode(&mut self, value: &impl Serialize) {
        // Postcard fails only on sequences of unknown length, and the two events that have one are encoded by hand above; a
        // test encodes every variant.
        postcard::serialize_with_flavor(value, Append(&mut self.buffer)).expect("every event has an encoding");
    }
}

/// Postcard's output, appended to a buffer that is used again.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
