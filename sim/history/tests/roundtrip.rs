//! Every event there is, written and read back: equal, hashing alike, and unlike all the others.

mod samples;

use std::collections::BTreeSet;

use curp::{ConfigCause, Event as NodeEvent};
use history::*;
use kv::{PutRequest, Request};
use samples::{id, name, stamped};

fn hash(events: &[Stamped]) -> u64 {
    let mut hash = TraceHash::new();
    events.iter().for_each(|event| hash.update(event));
    hash.finish()
}

fn header() -> TraceHeader {
    TraceHeader {
        format: TRACE_FORMAT,
        engine: "direct".into(),
        scenario: "standard".into(),
        seed: u64::MAX,
        voters: vec![1, 2, 3],
        drift_ppm: 200,
    }
}

#[test]
fn every_event_survives_the_file() {
    let all = stamped();
    let path = std::env::temp_dir().join(format!("history-roundtrip-{}.ndjson", std::process::id()));
    write_trace(&path, &header(), &all).expect("the temporary directory can be written");
    let (read_header, read) = read_trace(&path).unwrap_or_else(|e| panic!("{e}"));
    std::fs::remove_file(&path).expect("it was written");
    assert_eq!(read_header, header());
    for (wrote, read) in all.iter().zip(&read) {
        assert_eq!(wrote, read);
        assert_eq!(hash(std::slice::from_ref(wrote)), hash(std::slice::from_ref(read)), "{wrote:?}");
        let json = serde_json::to_value(wrote).expect("it was written");
        assert_eq!(json["event"], name(&wrote.event));
    }
    assert_eq!((all.len(), hash(&all)), (read.len(), hash(&read)));
}

#[test]
fn no_two_events_hash_alike() {
    let all = stamped();
    let hashes: BTreeSet<u64> = all.iter().map(|event| hash(std::slice::from_ref(event))).collect();
    assert_eq!(hashes.len(), all.len());
    let (mut turned, n) = (all.clone(), all.len());
    turned.swap(0, n - 1);
    assert_ne!(hash(&all), hash(&turned), "the order counts");
    assert_ne!(hash(&all), hash(&all[..n - 1]), "the length counts");
    let mut later = all.clone();
    later[n / 2].t -= 1;
    assert_ne!(hash(&all), hash(&later), "time counts");
}

/// The hash of a run must not change with a compiler, a platform or a library: stored runs name it. If this fails and the encoding was
/// meant to change, raise TRACE_FORMAT.
#[test]
fn the_hash_is_stable() {
    let stamped = |i, event| Stamped { i, t: 1000 + i, node: Some(1), client: None, event };
    let id = id(3, 17);
    let request = Request::Put(PutRequest { key: "k3".into(), value: "12".into(), prev_kv: false, ..PutRequest::default() });
    let three = [
        stamped(0, Event::Client(ClientEvent::Propose { op: 1, id: Some(id), first_incomplete: Some(17), read: None, request })),
        stamped(1, Event::World(WorldEvent::Send { to: None, promise: Promise::Synced { id } })),
        stamped(2, Event::Node(NodeEvent::UseConfig { term: 3, membership: samples::membership(), cause: ConfigCause::Appended })),
    ];
    assert_eq!(hash(&[]), 0x2D06_8005_38D3_94C2, "XXH3-64 of nothing");
    assert_eq!(hash(&three), STABLE);
}

const STABLE: u64 = 1_483_702_726_588_489_945;
