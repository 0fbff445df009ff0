//! Nodes with their state machines' stores: a restart goes on from what the store holds, whatever a power loss leaves of it, and refuses
//! what does not fit the log.

#[path = "../../storage/tests/common/block.rs"]
mod block;
mod common;

use block::{File, chance};
use common::{CLIENT, Files, Host, LEASE, MS, config, put};
use curp::{Event, Message, Request as Ask};
use node::Input;
use storage::{RedbStore, StateStore};

fn open(file: &File) -> Result<Box<dyn StateStore>, String> {
    RedbStore::open(file.clone(), "state.redb").map(|store| Box::new(store) as Box<dyn StateStore>).map_err(|e| e.to_string())
}

fn start(files: &Files, file: &File, now: u64) -> Result<Host, String> {
    Host::start_with(config(), 1, 1, files, Some(open(file)?), now)
}

/// Where a start found its state, if in the store.
fn loaded(host: &Host) -> Option<u64> {
    host.events.iter().find_map(|event| if let Event::LoadState { index, .. } = event { Some(*index) } else { None })
}

fn saved(host: &Host) -> Option<u64> {
    host.events.iter().filter_map(|event| if let Event::SaveState { index } = event { Some(*index) } else { None }).max()
}

/// A cluster of one answers so many puts, one after the other, until it is done or stops. A snapshot every three entries.
fn run(host: &mut Host, puts: std::ops::RangeInclusive<u64>) {
    let (mut next, mut ticked) = (*puts.start(), false);
    for _ in 0..600 {
        if host.fatal.is_some() {
            return;
        }
        if host.end_write() {
            continue;
        }
        let begun = host.node.raw().applied() > 1;
        match host.node.raw().is_open() {
            false => host.tick(150 * MS),
            true if !begun => host.give(Input::Message { from: CLIENT, message: Message::Request(Ask::BeginSession { nonce: 0 }) }),
            // A timer between any two, which commits.
            true if ticked && puts.contains(&next) && host.answered().last().is_none_or(|last| last + 1 == next) => {
                host.give(Input::Message { from: CLIENT, message: put(next) });
                (next, ticked) = (next + 1, false);
            }
            true if next > *puts.end() && saved(host) == Some(host.node.raw().applied()) => return,
            true => {
                ticked = true;
                host.tick(40 * MS);
            }
        }
    }
    panic!("no end of it: {next}, {:?}, {:?}", host.answered(), host.fatal);
}

fn is_itself(host: &Host) {
    assert_eq!(host.node.raw().hash_sum(), host.node.store().full_hash(), "the state's hash is that of the state");
    let attached = host.node.store().leases().get(LEASE).map_or(0, |lease| lease.keys.len());
    assert_eq!(attached, host.values().len(), "every key is attached to the lease");
    host.node.is_kept().expect("the store holds what it says");
}

/// All that the node has applied is in the store.
fn is_saved(host: &Host) {
    assert_eq!(host.node.is_kept(), Ok(true), "the store holds all that the node has applied");
}

#[test]
fn a_restart_goes_on_from_the_store() {
    let file = File::default();
    let mut host = start(&Files::new(), &file, 1000 * MS).expect("an empty disk");
    run(&mut host, 1..=9);
    let (values, applied, hash) = (host.values(), host.node.raw().applied(), host.node.raw().state_hash());
    assert_eq!(values.len(), 8, "the first is a lease");
    let files = host.disk.durable();
    let copy = File::of(file.left(|| false));
    let mut again = start(&files, &copy, host.now).expect("its own files");
    assert_eq!(loaded(&again), Some(applied), "nothing is left to be replayed");
    assert_eq!((again.node.raw().applied(), again.node.raw().state_hash(), again.values()), (applied, hash, values));
    is_itself(&again);
    is_saved(&again);
    // The session is there with its results, and the node goes on.
    run(&mut again, 10..=12);
    assert_eq!((again.values().len(), again.answered()), (11, vec![10, 11, 12]));
    is_itself(&again);
    is_saved(&again);

    // Without a store, it begins from the snapshot; with one that is older than that, too.
    let old = File::default();
    drop(open(&old).expect("empty"));
    let mut from_snapshot = start(&files, &old, host.now).expect("its own files");
    assert_eq!(loaded(&from_snapshot), None);
    run(&mut from_snapshot, 10..=10);
    assert_eq!(from_snapshot.values().len(), 9);
    let index = saved(&from_snapshot).expect("the store holds the snapshot's state, and what came after it");
    let once_more = start(&from_snapshot.disk.durable(), &File::of(old.left(|| false)), host.now).expect("its own files");
    assert_eq!((loaded(&once_more), once_more.values().len()), (Some(index), 9));
    is_itself(&once_more);
    is_saved(&once_more);
}

/// Power fails at every call on the store's file, and with it the disk of the log: what was answered is there again.
#[test]
fn power_may_fail_at_every_call_of_the_store() {
    let calls = {
        let file = File::default();
        let mut host = start(&Files::new(), &file, 1000 * MS).expect("an empty disk");
        run(&mut host, 1..=8);
        let calls = file.bytes().calls;
        drop(host);
        calls
    };
    let (mut stopped, mut from_store) = (0, 0);
    for cut_at in 1..=calls {
        let file = File::default();
        file.bytes().cut_at = Some(cut_at);
        let Ok(mut host) = start(&Files::new(), &file, 1000 * MS) else { continue };
        run(&mut host, 1..=8);
        assert!(host.fatal.is_some(), "a node whose store fails stops");
        stopped += 1;
        let (answered, last_saved) = (host.answered(), saved(&host));
        let mut disks = Vec::new();
        host.disk.power_fails(|files: &Files| disks.push(files.clone()));
        for (seed, files) in disks.iter().enumerate().step_by(disks.len().div_ceil(3)) {
            for left in [file.left(|| false), file.left(|| true), file.left(chance(cut_at << 8 | seed as u64))] {
                if host.synced == 0 {
                    continue;
                }
                let after = File::of(left);
                let mut after = start(files, &after, host.now).unwrap_or_else(|e| panic!("cut at call {cut_at}: {e}"));
                is_itself(&after);
                let found = loaded(&after);
                from_store += u64::from(found.is_some());
                let snapshot = after.node.raw().snapshot_index();
                assert!(found.unwrap_or(snapshot) >= last_saved.unwrap_or(0), "cut at call {cut_at}: {found:?} of {last_saved:?}");
                while after.end_write() {}
                after.tick(150 * MS);
                while after.end_write() {}
                let values = after.values();
                let leased = after.node.store().leases().get(LEASE).is_some();
                let lost = answered.iter().find(|seq| if **seq == 1 { !leased } else { !values.contains(&seq.to_string()) });
                assert_eq!(lost, None, "cut at call {cut_at}: what was answered is lost; there is {values:?}");
                is_itself(&after);
            }
        }
    }
    assert!(stopped > 50 && from_store > 40, "{stopped} cuts, {from_store} starts from the store");
}

#[test]
fn what_does_not_fit_is_refused() {
    let file = File::default();
    let mut host = start(&Files::new(), &file, 1000 * MS).expect("an empty disk");
    run(&mut host, 1..=4);
    let (early, store) = (host.disk.durable(), file.left(|| false));
    run(&mut host, 5..=9);
    let late = host.disk.durable();
    // The log lost what the store reflects.
    let refused = start(&early, &File::of(file.left(|| false)), host.now).err().expect("it must not start");
    assert!(refused.contains("which the log does not have"), "{refused}");
    // The other way round it is replayed, or the snapshot is later.
    start(&late, &File::of(store.clone()), host.now).expect("the log leads on");
    // Damage, in any row.
    let at = store.windows(2).rposition(|window| window == b"k4").expect("the key is there");
    let mut damaged = store;
    damaged[at + 1] ^= 1;
    let refused = start(&late, &File::of(damaged), host.now).err().expect("it must not start");
    assert!(refused.starts_with("state.redb at offset "), "{refused}");
}
