//! What the checks cost. `cargo test --release -p check -- --ignored --nocapture cost`

use std::time::Instant;

use history::{Promise, TraceHeader};
use kv::Response;

use super::super::Monitor;
use super::cluster::{Cluster, id, put};

#[test]
#[ignore = "a measurement"]
fn cost() {
    let mut c = Cluster::ready(5);
    c.keep = true;
    let (mut leader, mut term) = (1, 1);
    for seq in 1..=200 {
        let witnesses: Vec<_> = (1..=5).filter(|&n| n != leader && n != leader % 5 + 1).collect();
        let nodes: Vec<_> = std::iter::once(leader).chain(witnesses).collect();
        c.fast(seq, &put(&format!("k{}", seq), "v"), &nodes);
        if seq % 8 == 0 {
            c.settle(leader);
            for done in seq - 7..=seq {
                c.send(leader, None, Promise::Synced { id: id(done) });
                c.synced(done, done + 1, Response::Put { prev_kv: None });
            }
        }
        if seq % 50 == 0 {
            let old = leader;
            (leader, term) = (leader % 5 + 1, term + 1);
            c.elect(leader, term, &[(leader % 5) + 1, (leader + 1) % 5 + 1]);
            c.settle(leader);
            c.node(leader, curp::Event::OpenFastPath { term });
            c.reboot(old);
            c.settle(leader);
        }
    }
    c.legal();
    let header = TraceHeader { format: 1, engine: "direct".into(), scenario: "cost".into(), seed: 0, voters: (1..=5).collect() };
    let measure = |judge: bool| {
        (0..20)
            .map(|_| {
                let mut monitor = Monitor::new(&header);
                let mut disks: Vec<_> = (0..6).map(|_| storage::Reader::<kv::Request>::new()).collect();
                let start = Instant::now();
                for event in &c.events {
                    if judge {
                        monitor.observe(event);
                    } else if let history::Event::World(history::WorldEvent::Disk { file, offset, data }) = &event.event {
                        disks[event.node.unwrap_or(0) as usize].change(file, *offset, data.as_slice());
                    }
                }
                start.elapsed()
            })
            .min()
    };
    let (all, decoding) = (measure(true).unwrap_or_default(), measure(false).unwrap_or_default());
    println!(
        "{} events: {all:?} ({} ns each), of which decoding the disks takes {decoding:?}",
        c.events.len(),
        all.as_nanos() / c.events.len() as u128
    );
}
