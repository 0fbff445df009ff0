use super::*;
use crate::Direction;
use proptest::prelude::*;

fn n(i: u32) -> Endpoint {
    Endpoint::Node(i)
}

fn c(i: u32) -> Endpoint {
    Endpoint::Client(i)
}

fn calm() -> Network {
    Network::new(Draws::new(1), &NetworkParams::default(), 5, 3)
}

fn everybody() -> Vec<Endpoint> {
    (1..=5).map(n).chain((1..=3).map(c)).collect()
}

/// Who cannot reach whom.
fn cut(network: &Network, now: u64) -> Vec<(Endpoint, Endpoint)> {
    let pairs = everybody().into_iter().flat_map(|a| everybody().into_iter().map(move |b| (a, b)));
    pairs.filter(|&(a, b)| network.passes(a, b, now).is_err()).collect()
}

fn cut_by(fault: NetFault, now: u64) -> Vec<(Endpoint, Endpoint)> {
    let mut network = calm();
    network.begin(7, &fault, 0);
    cut(&network, now)
}

#[test]
fn a_calm_network_delivers_once_within_its_latency() {
    let mut network = calm();
    for i in 0..1000 {
        let fate = network.send(i * 1000, n(1), n(2));
        let [arrival] = fate.arrivals() else { panic!("{fate:?}") };
        assert!((200_000..=2_200_000).contains(&(arrival - i * 1000)), "{fate:?}");
    }
    assert!(network.effects().all(|(_, count)| count == 0));
}

#[test]
fn links_have_latencies_of_their_own() {
    let mut network = Network::new(Draws::new(9), &NetworkParams { jitter_us_max: 0, ..NetworkParams::default() }, 5, 3);
    let mut latency = |a, b| network.send(0, a, b).arrivals()[0];
    assert_ne!(latency(n(1), n(2)), latency(n(2), n(1)));
    assert_eq!(latency(n(1), n(2)), latency(n(1), n(2)));
}

#[test]
fn a_fate_depends_on_its_link_and_number_only() {
    let params =
        NetworkParams { loss_ppm: 200_000, duplicate_ppm: 200_000, late_ppm: 100_000, late_us_max: 9_000, ..NetworkParams::default() };
    let (mut quiet, mut busy) = (Network::new(Draws::new(4), &params, 5, 3), Network::new(Draws::new(4), &params, 5, 20));
    for i in 0..200 {
        for other in 3..=5 {
            busy.send(i, n(1), n(other));
        }
        assert_eq!(quiet.send(i, n(1), n(2)), busy.send(i, n(1), n(2)));
    }
}

#[test]
fn fates_are_stable() {
    let params =
        NetworkParams { loss_ppm: 200_000, duplicate_ppm: 300_000, late_ppm: 300_000, late_us_max: 900_000, ..NetworkParams::default() };
    let mut network = Network::new(Draws::new(42), &params, 5, 3);
    let arrivals: Vec<Vec<u64>> = (0..6).map(|_| network.send(0, n(1), c(2)).arrivals().to_vec()).collect();
    assert_eq!(arrivals, [vec![1042637], vec![1008579], vec![1066516, 3168118], vec![914239], vec![890032], vec![1042383, 62655506]]);
}

#[test]
fn the_base_model_does_everything_it_can() {
    let params = NetworkParams {
        tail_ppm: 10_000,
        tail_us_max: 50_000,
        loss_ppm: 50_000,
        duplicate_ppm: 50_000,
        reorder_ppm: 50_000,
        reorder_us_max: 10_000,
        late_ppm: 10_000,
        late_us_max: 2_000_000,
        ..NetworkParams::default()
    };
    let mut network = Network::new(Draws::new(2), &params, 5, 3);
    let fates: Vec<Fate> = (0..10_000).map(|i| network.send(i * 10_000, n(1), n(2))).collect();
    let count = |f: fn(&Fate) -> bool| fates.iter().filter(|x| f(x)).count();
    assert!((400..600).contains(&count(|f| f.lost)), "{}", count(|f| f.lost));
    assert!((400..600).contains(&count(|f| f.duplicated)));
    assert!((400..600).contains(&count(|f| f.reordered)));
    assert!((60..150).contains(&count(|f| f.late)));
    assert!(fates.iter().all(|f| f.arrivals().len() == if f.lost { 0 } else { 1 + usize::from(f.duplicated) }));
    let overtaken = fates.windows(2).filter(|w| matches!((w[0].arrivals(), w[1].arrivals()), ([a, ..], [b, ..]) if a > b)).count();
    assert!(overtaken > 100, "messages overtake each other: {overtaken}");
    let latest = fates.iter().enumerate().filter_map(|(i, f)| Some(f.arrivals().first()? - i as u64 * 10_000)).max();
    assert!(latest > Some(1_000_000_000), "some are later than a second: {latest:?}");
    let effects: Vec<(&str, u64)> = network.effects().take(4).collect();
    assert_eq!(effects[0], ("message_lost", count(|f| f.lost) as u64));
    assert!(effects.iter().all(|(_, count)| *count > 0));

    network.heal();
    for i in 0..1000 {
        let fate = network.send(i, n(1), n(2));
        assert!(fate.arrivals().len() == 1 && fate.arrivals()[0] - i <= 2_200_000, "after the heal only latency remains: {fate:?}");
    }
}

#[test]
fn one_way_lets_the_answer_pass() {
    let cut = cut_by(NetFault::OneWay { from: vec![n(1), c(1)], to: vec![n(2), n(3)] }, 0);
    assert_eq!(cut, [(n(1), n(2)), (n(1), n(3)), (c(1), n(2)), (c(1), n(3))]);
}

#[test]
fn isolation_has_a_direction() {
    let fault = |direction| NetFault::Isolate { side: vec![n(1), c(1)], others: vec![n(2)], direction };
    assert_eq!(cut_by(fault(Direction::Out), 0), [(n(1), n(2)), (c(1), n(2))]);
    assert_eq!(cut_by(fault(Direction::In), 0), [(n(2), n(1)), (n(2), c(1))]);
    assert_eq!(cut_by(fault(Direction::Both), 0).len(), 4);
}

#[test]
fn a_bridge_reaches_both_sides() {
    let cut = cut_by(NetFault::Bridge { left: vec![n(1), n(2)], right: vec![n(4), n(5)] }, 0);
    assert_eq!(cut.len(), 8);
    assert!(cut.iter().all(|&(a, b)| a != n(3) && b != n(3)));
}

#[test]
fn in_a_ring_each_has_two_neighbours() {
    let cut = cut_by(NetFault::Ring { order: (1..=5).map(n).collect() }, 0);
    assert_eq!(cut.len(), 10);
    assert!(cut.contains(&(n(1), n(3))) && !cut.contains(&(n(1), n(5))) && !cut.contains(&(n(1), n(2))));
}

#[test]
fn a_minority_is_cut_off_and_unnamed_clients_reach_both() {
    let cut = cut_by(NetFault::MajorityMinority { minority: vec![n(1), n(2)], majority: vec![n(3), n(4), n(5)] }, 0);
    assert_eq!(cut.len(), 12);
    assert!(cut.iter().all(|&(a, b)| a < c(1) && b < c(1)));
}

#[test]
fn flapping_comes_and_goes() {
    let fault = NetFault::Flapping { groups: vec![vec![n(1)], vec![n(2)]], on_us: 10, off_us: 30 };
    let on: Vec<bool> = [0, 9_999, 10_000, 39_999, 40_000, 50_000].map(|now| !cut_by(fault.clone(), now).is_empty()).to_vec();
    assert_eq!(on, [true, true, false, false, true, false]);
}

#[test]
fn swizzle_cuts_one_by_one_and_lets_go_in_another_order() {
    let fault = NetFault::Swizzle { clog: vec![n(1), n(2)], unclog: vec![n(2), n(1)], step_us: 1 };
    let clogged = |now| {
        let cut = cut_by(fault.clone(), now);
        [1, 2].map(|i| cut.contains(&(n(i), n(5))) && cut.contains(&(c(1), n(i))))
    };
    assert_eq!([0, 1_000, 2_000, 3_000].map(clogged), [[true, false], [true, true], [true, false], [false, false]]);
}

#[test]
fn a_slow_link_slows_one_way_and_is_counted() {
    let mut network = calm();
    let (mut plain, fault) = (calm(), NetFault::SlowLink { from: vec![n(1)], to: vec![n(2)], extra_us: 500 });
    network.begin(3, &fault, 0);
    assert_eq!(network.send(0, n(1), n(2)).arrivals()[0], plain.send(0, n(1), n(2)).arrivals()[0] + 500_000);
    assert_eq!(network.send(0, n(2), n(1)), plain.send(0, n(2), n(1)));
    assert_eq!(network.effects_of(3), 1);
    network.end(3);
    assert_eq!(network.send(0, n(1), n(2)), plain.send(0, n(1), n(2)));
}

#[test]
fn a_storm_disturbs_and_ends() {
    let mut network = calm();
    let storm = NetFault::Storm {
        loss_ppm: 300_000,
        duplicate_ppm: 300_000,
        reorder_ppm: 300_000,
        reorder_us_max: 5_000,
        late_ppm: 300_000,
        late_us_max: 1_000_000,
    };
    network.begin(1, &storm, 0);
    let fates: Vec<Fate> = (0..1000).map(|i| network.send(i, n(1), n(2))).collect();
    assert!(fates.iter().any(|f| f.lost) && fates.iter().any(|f| f.duplicated) && fates.iter().any(|f| f.late && f.reordered));
    let touched = fates.iter().filter(|f| f.lost || f.duplicated || f.late || f.reordered).count() as u64;
    assert_eq!(network.effects_of(1), touched);
    network.end(1);
    assert!((0..1000).all(|i| network.send(i, n(1), n(2)).arrivals().len() == 1));
}

#[test]
fn effects_are_messages_that_would_have_arrived() {
    let mut network = Network::new(Draws::new(1), &NetworkParams { loss_ppm: 500_000, ..NetworkParams::default() }, 5, 3);
    network.begin(9, &NetFault::Symmetric { groups: vec![vec![n(1)], vec![n(2)]] }, 0);
    let fates: Vec<Fate> = (0..1000).map(|i| network.send(i, n(1), n(2))).collect();
    let blocked = fates.iter().filter(|f| f.blocked_by == Some(9)).count() as u64;
    let lost = fates.iter().filter(|f| f.lost).count() as u64;
    assert!(blocked + lost == 1000 && blocked > 400 && lost > 400, "{blocked} {lost}");
    assert_eq!(network.effects_of(9), blocked);
    assert_eq!(network.deliver(n(1), n(2), 5), Err(9));
    assert_eq!(network.effects().find(|(kind, _)| *kind == "partition_symmetric"), Some(("partition_symmetric", blocked + 1)));
    network.heal();
    assert_eq!(network.deliver(n(1), n(2), 5), Ok(()));
}

#[test]
#[should_panic(expected = "c9 is not in this network")]
fn a_stranger_is_a_mistake_of_the_engine() {
    calm().send(0, n(1), c(9));
}

proptest! {
    #[test]
    fn a_symmetric_partition_is_one(sides in prop::collection::vec(0usize..4, 8)) {
        // Group 3 stands for "not named".
        let mut groups = vec![Vec::new(); 3];
        for (endpoint, &side) in everybody().iter().zip(&sides) {
            if side < 3 {
                groups[side].push(*endpoint);
            }
        }
        let cut = cut_by(NetFault::Symmetric { groups }, 0);
        for (i, &a) in everybody().iter().enumerate() {
            for (j, &b) in everybody().iter().enumerate() {
                let apart = sides[i] != sides[j] && sides[i] < 3 && sides[j] < 3;
                prop_assert_eq!(cut.contains(&(a, b)), apart);
            }
        }
    }

    #[test]
    fn every_arrival_is_later_than_the_sending(seed in any::<u64>(), loss in 0u32..300_000, late in 0u32..300_000, now in 0u64..1 << 40) {
        let params = NetworkParams { latency_us_min: 0, loss_ppm: loss, duplicate_ppm: loss, late_ppm: late, late_us_max: 10_000, ..NetworkParams::default() };
        let mut network = Network::new(Draws::new(seed), &params, 5, 3);
        for _ in 0..20 {
            prop_assert!(network.send(now, n(2), c(3)).arrivals().iter().all(|&t| t > now));
        }
    }
}
