//! The client by hand: inputs in, messages and notices out.

use super::*;

mod streams;

const MS: Nanos = 1_000_000;

fn membership() -> Membership {
    Membership::initial([1, 2, 3, 4, 5])
}

/// When `busy` is ready.
const START: Nanos = 30 * MS;

/// A client with an open session, a leader and one put under way, at time `START`.
fn busy() -> (Client, Output) {
    let config = Config { retry_after_min: 100 * MS, retry_after_max: 1_600 * MS };
    let (mut client, mut out) = (Client::new(1, 0, config, membership(), 7), Output::default());
    let put = Request::Put(kv::PutRequest { key: "k".into(), value: "v".into(), prev_kv: false, ..kv::PutRequest::default() });
    client.handle(0, Input::Invoke { op: 1, request: put }, &mut out);
    client.handle(0, leads(4, Some(1)), &mut out);
    client.handle(START, Input::Tick, &mut out);
    let nonce = out.messages.iter().find_map(|(_, message)| match message {
        Message::Request(curp::Request::BeginSession { nonce }) => Some(*nonce),
        _ => None,
    });
    let begun = Reply::SessionBegun { nonce: nonce.expect("a write begins a session"), client: 3 };
    client.handle(START, Input::Message { from: 1, reply: begun }, &mut out);
    (client, out)
}

fn leads(term: Term, leader: Option<NodeId>) -> Input {
    let reply = Reply::Cluster { leadership: Leadership { term, leader }, membership: membership() };
    Input::Message { from: leader.unwrap_or(5), reply }
}

#[test]
fn a_round_goes_to_the_leader_and_every_other_voter() {
    let (_, out) = busy();
    let proposes: Vec<_> = out.messages.iter().filter(|(_, m)| matches!(m, Message::Request(curp::Request::Propose { .. }))).collect();
    let records: Vec<_> =
        out.messages.iter().filter(|(_, m)| matches!(m, Message::Request(curp::Request::Record { term: 4, .. }))).collect();
    assert_eq!(proposes.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [1]);
    assert_eq!(records.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

/// Found by the harness: each piece of news about the leader led to a new round, each round's refusals to more news.
#[test]
fn nodes_that_disagree_about_the_leader_cause_no_flood() {
    let (mut client, mut out) = busy();
    out.messages.clear();
    for i in 0..200 {
        let now = START + i * MS / 10;
        client.handle(now, if i % 2 == 0 { leads(5, None) } else { leads(4, Some(1)) }, &mut out);
        let refused =
            Reply::Recorded { id: ProposeId { client: 3, seq: 1 }, term: 4, config: ConfigVersion::default(), accepted: false, current: 5 };
        client.handle(now, Input::Message { from: 2, reply: refused }, &mut out);
    }
    assert!(out.messages.len() <= 10, "{} messages in 20 ms, with a retry due after 100", out.messages.len());
}

/// Found by the harness (standard 62001964 on madsim): the leader that a client knew was gone, and by chance those it asked were gone too, for ten
/// seconds.
#[test]
fn a_client_that_hears_nothing_asks_every_node_before_long() {
    for entropy in 0..50 {
        let (mut client, mut out) = busy();
        client.entropy = entropy;
        out.messages.clear();
        let mut now = START;
        for _ in 0..10 {
            now = now.max(client.next_due().expect("a command is under way"));
            client.handle(now, Input::Tick, &mut out);
        }
        let asked = out.messages.iter().filter(|(_, m)| matches!(m, Message::Request(curp::Request::FetchCluster))).map(|(to, _)| *to);
        assert_eq!(asked.collect::<std::collections::BTreeSet<_>>(), (1..=5).collect(), "entropy {entropy}");
    }
}

#[test]
fn a_fast_round_wants_accepts_of_the_leader_s_term() {
    let (mut client, mut out) = busy();
    let (id, config) = (ProposeId { client: 3, seq: 1 }, ConfigVersion::default());
    let recorded = |term| Reply::Recorded { id, term, config, accepted: true, current: term };
    let executed = Reply::Executed { id, term: 4, config, response: Response::Put { prev_kv: None } };
    client.handle(START, Input::Message { from: 1, reply: executed }, &mut out);
    for (from, term) in [(2, 4), (3, 4), (3, 4), (4, 3)] {
        client.handle(START, Input::Message { from, reply: recorded(term) }, &mut out);
    }
    let fast = |out: &Output| out.notices.iter().any(|n| matches!(n, Notice::Fast { .. }));
    assert!(!fast(&out), "the leader and two of its term are not four");
    client.handle(START, Input::Message { from: 5, reply: recorded(4) }, &mut out);
    assert!(fast(&out));
}

/// The fast round of `busy`'s command under configuration `config`: the leader's ER and the accepts of these nodes.
fn round(config: ConfigVersion, accepts: &[NodeId]) -> Vec<Input> {
    let id = ProposeId { client: 3, seq: 1 };
    let executed = Reply::Executed { id, term: 4, config, response: Response::Put { prev_kv: None } };
    let recorded =
        |from: &NodeId| Input::Message { from: *from, reply: Reply::Recorded { id, term: 4, config, accepted: true, current: 4 } };
    std::iter::once(Input::Message { from: 1, reply: executed }).chain(accepts.iter().map(recorded)).collect()
}

fn cluster(from: NodeId, leader: NodeId, membership: &Membership) -> Input {
    let leadership = Leadership { term: 4, leader: Some(leader) };
    Input::Message { from, reply: Reply::Cluster { leadership, membership: membership.clone() } }
}

fn is_fast(out: &Output) -> bool {
    out.notices.iter().any(|n| matches!(n, Notice::Fast { .. }))
}

/// A configuration later than `membership()`, and its version.
fn later(index: u64, voters: &[NodeId], learners: &[NodeId]) -> (Membership, ConfigVersion) {
    let version = ConfigVersion { term: 4, index };
    (Membership { version, learners: learners.to_vec(), ..Membership::initial(voters.iter().copied()) }, version)
}

#[test]
fn an_answer_under_another_configuration_counts_when_that_is_known() {
    let (mut client, mut out) = busy();
    let (membership, version) = later(9, &[1, 2, 3], &[4]);
    out.messages.clear();
    for input in round(version, &[2, 3]) {
        client.handle(START, input, &mut out);
    }
    assert!(!is_fast(&out), "how many voters there are is not known");
    assert!(matches!(out.messages[..], [(1, Message::Request(curp::Request::FetchCluster))]), "so the leader is asked, once");
    client.handle(START, cluster(1, 1, &membership), &mut out);
    assert!(is_fast(&out));
}

#[test]
fn neither_learners_nor_a_leader_on_its_way_out_are_witnesses() {
    for (voters, learners) in [(&[1, 2, 3][..], &[4][..]), (&[2, 3, 4], &[])] {
        let (mut client, mut out) = busy();
        let (membership, version) = later(9, voters, learners);
        client.handle(START, cluster(1, 1, &membership), &mut out);
        for input in round(version, if learners.is_empty() { &[2, 3] } else { &[2, 4] }) {
            client.handle(START, input, &mut out);
        }
        assert!(!is_fast(&out), "two of the voters {voters:?} hold the command");
        let last = Reply::Recorded { id: ProposeId { client: 3, seq: 1 }, term: 4, config: version, accepted: true, current: 4 };
        client.handle(START, Input::Message { from: if learners.is_empty() { 4 } else { 3 }, reply: last }, &mut out);
        assert!(is_fast(&out), "all of the voters {voters:?} hold the command");
    }
}

/// Two nodes may know configurations that were never both in force: of those, the later one may be the one that was undone.
#[test]
fn the_leader_s_configuration_replaces_a_later_one_of_anyone_else() {
    let (mut client, mut out) = busy();
    let ((undone, _), (real, _)) = (later(20, &[1, 2], &[]), later(9, &[1, 2, 3], &[]));
    client.handle(START, cluster(5, 1, &undone), &mut out);
    assert_eq!(client.membership(), &undone);
    client.handle(START, cluster(2, 1, &real), &mut out);
    assert_eq!(client.membership(), &undone, "an earlier one of a follower's is old news");
    client.handle(START, cluster(1, 1, &real), &mut out);
    assert_eq!(client.membership(), &real);
}

#[test]
fn a_client_whose_voters_are_all_gone_asks_whom_it_met_before() {
    let (mut client, mut out) = busy();
    client.handle(START, cluster(1, 1, &later(9, &[7], &[]).0), &mut out);
    assert_eq!(client.nodes().keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 7]);
    out.messages.clear();
    for i in 1..200 {
        client.handle(START + i * 100 * MS, Input::Tick, &mut out);
    }
    let asked: Vec<NodeId> =
        out.messages.iter().filter(|(_, m)| matches!(m, Message::Request(curp::Request::FetchCluster))).map(|(to, _)| *to).collect();
    assert!(asked.contains(&7) && asked.iter().any(|node| *node < 7), "{asked:?}");
}

/// A client that has nothing but a range to read knows a leader that has gone, and so have all but one, which says only that it does not lead.
#[test]
fn a_range_finds_out_that_every_node_it_knows_has_left() {
    for entropy in 0..20 {
        let config = Config { retry_after_min: 100 * MS, retry_after_max: 1_600 * MS };
        let (mut client, mut out) = (Client::new(1, 0, config, membership(), entropy), Output::default());
        client.handle(0, leads(4, Some(1)), &mut out);
        let range = Request::Range(kv::RangeRequest { key: "k".into(), ..kv::RangeRequest::default() });
        client.handle(START, Input::Invoke { op: 1, request: range }, &mut out);
        let (there, _) = later(9, &[6], &[]);
        let mut now = START;
        while !out.messages.iter().any(|(to, message)| *to == 6 && matches!(message, Message::Request(curp::Request::Read { .. }))) {
            now += 10 * MS;
            assert!(now < START + 60_000 * MS, "entropy {entropy}: it stays among those that have left");
            for (to, message) in std::mem::take(&mut out.messages).into_iter().filter(|(to, _)| *to == 3) {
                match message {
                    Message::Request(curp::Request::FetchCluster) => client.handle(now, cluster(to, 6, &there), &mut out),
                    Message::Request(curp::Request::Read { read, .. }) => {
                        let refused = Reply::ReadRefused { read, cluster: Leadership { term: 4, leader: None } };
                        client.handle(now, Input::Message { from: to, reply: refused }, &mut out);
                    }
                    _ => {}
                }
            }
            client.handle(now, Input::Tick, &mut out);
        }
    }
}

/// The admin requests sent since the last call: to whom, nonce, what.
fn asked(out: &mut Output) -> Vec<(NodeId, u64, curp::Admin)> {
    let wish = |(to, message)| match message {
        Message::Request(curp::Request::Admin { nonce, wish }) => Some((to, nonce, wish)),
        _ => None,
    };
    std::mem::take(&mut out.messages).into_iter().filter_map(wish).collect()
}

fn ended(out: &mut Output) -> Vec<Result<AdminDone, AdminRefusal>> {
    let result = |notice| if let Notice::Admin { result, .. } = notice { Some(result) } else { None };
    std::mem::take(&mut out.notices).into_iter().filter_map(result).collect()
}

#[test]
fn a_change_is_asked_for_until_it_is_done_and_made_once() {
    let (mut client, mut out) = busy();
    let change = ConfigChange::AddLearner { node: 6, address: String::new() };
    let wish = AdminWish::Change(change.clone());
    out.messages.clear();
    client.handle(START, Input::Admin { op: 7, node: None, wish }, &mut out);
    let first = asked(&mut out);
    let [(1, nonce, curp::Admin::ChangeMembership { base, .. })] = first[..] else { panic!("{first:?}") };
    assert_eq!(base, ConfigVersion::default());
    let mut now = START;
    let mut answer = |client: &mut Client, out: &mut Output, from, result| {
        now += 1_000 * MS;
        client.handle(now, Input::Message { from, reply: Reply::Admin { nonce, result: Err(result) } }, out);
        now += 1_000 * MS;
        client.handle(now, Input::Tick, out);
        asked(out)
    };
    let again = answer(&mut client, &mut out, 1, AdminRefusal::Busy);
    assert!(!again.is_empty() && again.iter().all(|(to, again, _)| (*to, *again) == (1, nonce)), "{again:?}");
    // Another operator was quicker: the same change, for the configuration there is now.
    let (other, version) = later(9, &[1, 2, 3, 4], &[]);
    let again = answer(&mut client, &mut out, 1, AdminRefusal::Stale(other));
    let base = curp::Admin::ChangeMembership { base: version, change };
    assert_eq!(again.last(), Some(&(1, nonce, base.clone())));
    // The leader moved.
    let again = answer(&mut client, &mut out, 1, AdminRefusal::NotLeader(Leadership { term: 5, leader: Some(2) }));
    assert_eq!(again.last(), Some(&(2, nonce, base)));
    assert_eq!(ended(&mut out), [], "not yet");
    // It was done at an earlier try, of which no answer came.
    let (done, _) = later(12, &[1, 2, 3, 4], &[6]);
    assert_eq!(answer(&mut client, &mut out, 2, AdminRefusal::Stale(done.clone())), []);
    assert_eq!(ended(&mut out), [Ok(AdminDone::Changed(done))]);
    assert_eq!(answer(&mut client, &mut out, 2, AdminRefusal::Busy), []);
    assert_eq!(ended(&mut out), [], "the end is told once");
}

#[test]
fn a_refusal_that_stays_ends_a_wish() {
    let (mut client, mut out) = busy();
    for (wish, why) in [
        (AdminWish::MoveLeader(3), AdminRefusal::TransferFailed),
        (AdminWish::Change(ConfigChange::Remove { node: 9 }), AdminRefusal::NoSuchMember),
    ] {
        client.handle(START, Input::Admin { op: 7, node: None, wish }, &mut out);
        let nonce = asked(&mut out).last().expect("a request").1;
        client.handle(START, Input::Message { from: 1, reply: Reply::Admin { nonce, result: Err(why.clone()) } }, &mut out);
        assert_eq!(ended(&mut out), [Err(why)]);
    }
}

#[test]
fn a_node_that_is_named_is_asked_for_its_snapshot() {
    let (mut client, mut out) = busy();
    out.messages.clear();
    client.handle(START, Input::Admin { op: 7, node: Some(4), wish: AdminWish::TakeSnapshot }, &mut out);
    let asked = asked(&mut out);
    assert!(matches!(asked[..], [(4, _, curp::Admin::TakeSnapshot)]), "{asked:?}");
    client.handle(START, Input::Abandon { op: 7 }, &mut out);
    client.handle(START + 1_000 * MS, Input::Tick, &mut out);
    assert!(!out.messages.iter().any(|(_, m)| matches!(m, Message::Request(curp::Request::Admin { .. }))));
}
