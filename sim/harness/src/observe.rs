//! The one stream of events of a run. Every event is stamped, hashed, shown to the online checks and, if asked for, kept.

use check::online::Monitor;
use curp::NodeId;
use history::{ClientEvent, Event, Stamped, TraceHash, TraceHeader, WorldEvent};
use plan::PROBES;
use std::collections::BTreeMap;

use crate::profile::{self, Part};

/// A probe that fired, at which node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fired {
    /// Its place in [`PROBES`].
    pub(crate) probe: usize,
    /// How often it has fired in this run, this time included.
    pub(crate) count: u64,
    /// Where; `None` at a client whose leader is not known.
    pub(crate) node: Option<NodeId>,
}

/// The place of a probe in the list, found when this is compiled; a name that is not there does not compile.
pub(crate) const fn probe(name: &str) -> usize {
    let mut i = 0;
    while i < PROBES.len() {
        let (a, b) = (PROBES[i].0.as_bytes(), name.as_bytes());
        let mut same = a.len() == b.len();
        let mut j = 0;
        while same && j < a.len() {
            same = a[j] == b[j];
            j += 1;
        }
        if same {
            return i;
        }
        i += 1;
    }
    panic!("no probe of this name")
}

/// Looks on.
pub(crate) struct Observer {
    now: u64,
    next: u64,
    hash: TraceHash,
    monitor: Option<Monitor>,
    recorded: Option<Vec<Stamped>>,
    probes: Vec<u64>,
    /// Of them: after the first fault took effect and before the heal.
    under_faults: Vec<u64>,
    /// Whether it is that time.
    pub(crate) faulty: bool,
    /// Probes fired since the nemesis last looked.
    pub(crate) fired: Vec<Fired>,
}

impl Observer {
    pub(crate) fn new(header: &TraceHeader, judge: bool, record: bool) -> Self {
        Observer {
            now: 0,
            next: 0,
            hash: TraceHash::new(),
            monitor: judge.then(|| Monitor::new(header)),
            recorded: record.then(Vec::new),
            probes: vec![0; PROBES.len()],
            under_faults: vec![0; PROBES.len()],
            faulty: false,
            fired: Vec::new(),
        }
    }

    pub(crate) fn set_time(&mut self, now: u64) {
        self.now = now;
        crate::log::set_time(now);
    }

    pub(crate) fn node(&mut self, node: NodeId, event: node::Event) {
        let event = match event {
            node::Event::Curp(event) => Event::Node(event),
            node::Event::Lease(event) => Event::Lease(event),
        };
        self.see(Some(node), None, event);
    }

    pub(crate) fn client(&mut self, client: u32, event: ClientEvent) {
        self.see(None, Some(client), Event::Client(event));
    }

    pub(crate) fn world(&mut self, node: Option<NodeId>, event: WorldEvent) {
        self.see(node, None, Event::World(event));
    }

    fn see(&mut self, node: Option<NodeId>, client: Option<u32>, event: Event) {
        let _judging = profile::enter(Part::Checks);
        let stamped = Stamped { i: self.next, t: self.now, node, client, event };
        self.next += 1;
        self.hash.update(&stamped);
        if let Some(monitor) = &mut self.monitor {
            monitor.observe(&stamped);
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(stamped);
        }
    }

    /// A probe fires, by its place in the list.
    pub(crate) fn fire(&mut self, probe: usize, node: Option<NodeId>) {
        self.probes[probe] += 1;
        self.under_faults[probe] += u64::from(self.faulty);
        self.fired.push(Fired { probe, count: self.probes[probe], node });
    }

    pub(crate) fn events(&self) -> u64 {
        self.next
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn monitor(&mut self) -> Option<&mut Monitor> {
        self.monitor.as_mut()
    }

    pub(crate) fn take_recorded(&mut self) -> Vec<Stamped> {
        self.recorded.take().unwrap_or_default()
    }

    pub(crate) fn probes(&self) -> BTreeMap<String, u64> {
        named(&self.probes)
    }

    pub(crate) fn under_faults(&self) -> BTreeMap<String, u64> {
        named(&self.under_faults)
    }
}

fn named(counts: &[u64]) -> BTreeMap<String, u64> {
    PROBES.iter().zip(counts).map(|((name, _), &count)| ((*name).to_owned(), count)).collect()
}
