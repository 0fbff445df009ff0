//! Whole nodes on disks that lose power: whatever a crash leaves of a snapshot, its record, the checkpoint and the removal of what that
//! replaced, the node starts, and has what it promised.

mod common;

use std::collections::BTreeSet;

use common::{CLIENT, Files, Host, LEASE, MS, put};
use curp::{Address, Event, Message, NodeId, Outgoing, Request as Ask};
use node::Input;

/// A cluster of one makes a snapshot every three entries. At every moment its power fails, in every way, and it is killed.
#[test]
fn whatever_a_power_loss_leaves_is_enough() {
    let mut host = Host::start(1, 1, &Files::new(), 1000 * MS).expect("an empty disk");
    let (mut seen, mut left, mut next, mut snapshots) = (BTreeSet::new(), 0u64, 1, 0);
    let mut begun = false;
    for _ in 0..200 {
        if host.events.drain(..).any(|e| matches!(e, Event::CompactLog { .. })) {
            snapshots += 1;
        }
        if host.writes.is_empty() {
            match (host.node.raw().is_open(), begun) {
                (false, _) => host.tick(150 * MS),
                (true, false) => {
                    begun = true;
                    host.give(Input::Message { from: CLIENT, message: Message::Request(Ask::BeginSession { nonce: 0 }) });
                }
                (true, true) if next <= 9 && host.answered().len() as u64 + 1 == next => {
                    host.give(Input::Message { from: CLIENT, message: put(next) });
                    next += 1;
                }
                (true, true) => host.tick(40 * MS),
            }
        }
        let answered = host.answered();
        let mut look = |files: &Files| {
            if host.synced > 0 && seen.insert(files.clone()) {
                left += 1;
                let mut after = Host::start(1, 1, files, host.now).unwrap_or_else(|e| panic!("{e}\n{:?}", files.keys()));
                while after.end_write() {}
                after.tick(150 * MS);
                while after.end_write() {}
                assert!(after.node.raw().is_open(), "a cluster of one elects itself");
                let (values, lease) = (after.values(), after.node.store().leases().get(LEASE));
                let lost = answered.iter().find(|seq| if **seq == 1 { lease.is_none() } else { !values.contains(&seq.to_string()) });
                assert_eq!(lost, None, "what was answered is lost; there is {values:?} in {:?}", files.keys());
                assert_eq!(lease.map_or(0, |lease| lease.keys.len()), values.len(), "every key is attached to the lease");
                let (sum, full) = (after.node.raw().hash_sum(), after.node.store().full_hash());
                assert_eq!(sum, full, "the state's hash was restored with it");
            }
        };
        host.disk.power_fails(&mut look);
        // After a kill everything written is there, durable or not.
        let mut killed = host.disk.clone();
        killed.kill();
        look(&killed.read());
        host.end_write();
    }
    assert_eq!((next, host.answered().len()), (10, 9), "all was answered");
    assert!(snapshots >= 3, "{snapshots} snapshots");
    assert!(left > 200, "{left} different disks");
    // What a checkpoint replaced is gone in the end.
    let files: Vec<_> = host.disk.durable().into_keys().collect();
    assert_eq!(files.len(), 2, "one segment and one snapshot: {files:?}");
}

/// A node that was away is sent a snapshot in pieces, says that it has it only when it is durable, and starts from it again.
#[test]
fn a_node_that_was_away_is_sent_a_snapshot() {
    let mut hosts: Vec<Host> = (1..=3).map(|id| Host::start(id, 3, &Files::new(), 1000 * MS).expect("an empty disk")).collect();
    let settle = |hosts: &mut Vec<Host>, away: Option<NodeId>| {
        for _ in 0..400 {
            let mut messages = Vec::new();
            for host in hosts.iter_mut() {
                while host.end_write() {}
                let (id, sent) = (host.id, std::mem::take(&mut host.sent));
                let (to_nodes, to_clients): (Vec<_>, Vec<_>) = sent.into_iter().partition(|m| matches!(m.to, Address::Node(_)));
                host.sent = to_clients;
                messages.extend(to_nodes.into_iter().map(|m| (id, m)));
            }
            if messages.is_empty() {
                return;
            }
            for (from, Outgoing { to, message, .. }) in messages {
                let Address::Node(to) = to else { continue };
                if away.is_none_or(|away| away != from && away != to) {
                    hosts[to as usize - 1].give(Input::Message { from: Address::Node(from), message });
                }
            }
        }
    };
    let beat = |hosts: &mut Vec<Host>, away: Option<NodeId>| {
        hosts[0].tick(40 * MS);
        settle(hosts, away);
    };
    settle(&mut hosts, None);
    hosts[0].tick(150 * MS);
    settle(&mut hosts, None);
    hosts[0].give(Input::Message { from: CLIENT, message: Message::Request(Ask::BeginSession { nonce: 0 }) });
    settle(&mut hosts, None);
    for seq in 1..=12 {
        hosts[0].give(Input::Message { from: CLIENT, message: put(seq) });
        beat(&mut hosts, Some(3));
    }
    assert_eq!(hosts[0].answered().len(), 12);
    assert!(hosts[0].node.raw().log_base().index > 5, "what node 3 needs is gone");
    hosts[0].give(Input::Unreachable(3));
    for _ in 0..4 {
        beat(&mut hosts, None);
    }
    let installed = |host: &Host| host.events.iter().any(|e| matches!(e, Event::InstallSnapshot { .. }));
    assert!(installed(&hosts[2]) && !installed(&hosts[1]));
    let (applied, hash) = (hosts[0].node.raw().applied(), hosts[0].node.raw().state_hash());
    assert_eq!((hosts[2].node.raw().applied(), hosts[2].node.raw().state_hash()), (applied, hash));
    assert_eq!(hosts[2].values(), hosts[0].values());

    let files = hosts[2].disk.durable();
    assert_eq!(files.keys().filter(|file| file.contains("snap")).count(), 1, "{:?}", files.keys());
    let (voters, now) = (hosts[2].voters, hosts[2].now);
    hosts[2] = Host::start(3, voters, &files, now).expect("its own files");
    assert!(hosts[2].node.raw().applied() > 5, "it starts from the snapshot");
    settle(&mut hosts, None);
    beat(&mut hosts, None);
    assert_eq!((hosts[2].node.raw().applied(), hosts[2].node.raw().state_hash()), (applied, hash));
}
