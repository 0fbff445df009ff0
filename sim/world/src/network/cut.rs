//! Which links a fault concerns, compiled to a table when it begins: asking is one look-up per active fault.

use crate::{Direction, Endpoint, NetFault, US};

/// Dense numbers for endpoints.
#[derive(Clone)]
pub(super) struct Map {
    nodes: usize,
    len: usize,
}

impl Map {
    pub(super) fn new(nodes: u32, clients: u32) -> Self {
        Map { nodes: nodes as usize, len: nodes as usize + clients as usize + 2 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn index(&self, endpoint: Endpoint) -> usize {
        let index = self.position(endpoint);
        assert!(index < self.len, "{endpoint} is not in this network");
        index
    }

    #[inline]
    fn position(&self, endpoint: Endpoint) -> usize {
        match endpoint {
            Endpoint::Node(n) => n as usize,
            Endpoint::Client(c) => self.nodes + 1 + c as usize,
        }
    }

    /// Marks the members of a set; those unknown here are left out.
    fn members(&self, set: &[Endpoint]) -> Vec<usize> {
        set.iter().map(|&e| self.position(e)).filter(|&i| i < self.len).collect()
    }
}

/// An active fault.
#[derive(Clone)]
pub(super) struct Active {
    pub(super) fault: u32,
    pub(super) net: NetFault,
    begun: u64,
    /// The links it concerns, by sender × receiver; empty if all.
    table: Vec<bool>,
    /// Swizzle: when each endpoint is cut off and let go.
    clogged: Vec<(u64, u64)>,
}

impl Active {
    pub(super) fn new(fault: u32, net: &NetFault, now: u64, map: &Map) -> Self {
        let mut this = Active { fault, net: net.clone(), begun: now, table: Vec::new(), clogged: Vec::new() };
        match net {
            NetFault::Symmetric { groups } | NetFault::Flapping { groups, .. } => this.table = between_groups(groups, map),
            NetFault::OneWay { from, to } | NetFault::SlowLink { from, to, .. } => this.table = one_way(&[(from, to)], map),
            NetFault::Isolate { side, others, direction } => {
                this.table = match direction {
                    Direction::In => one_way(&[(others, side)], map),
                    Direction::Out => one_way(&[(side, others)], map),
                    Direction::Both => one_way(&[(others, side), (side, others)], map),
                }
            }
            NetFault::Bridge { left, right } => this.table = one_way(&[(left, right), (right, left)], map),
            NetFault::MajorityMinority { minority, majority } => this.table = one_way(&[(minority, majority), (majority, minority)], map),
            NetFault::Ring { order } => this.table = ring(order, map),
            NetFault::Swizzle { clog, unclog, step_us } => this.clogged = swizzle(clog, unclog, *step_us * US, now, map),
            NetFault::Storm { .. } => {}
        }
        this
    }

    /// Whether it swallows a message on this link now.
    #[inline]
    pub(super) fn blocks(&self, len: usize, from: usize, to: usize, now: u64) -> bool {
        match &self.net {
            NetFault::Storm { .. } | NetFault::SlowLink { .. } => false,
            NetFault::Flapping { on_us, off_us, .. } => {
                let period = ((on_us + off_us) * US).max(1);
                now.saturating_sub(self.begun) % period < on_us * US && self.covers(len, from, to)
            }
            NetFault::Swizzle { .. } => {
                let clogged = |i: usize| self.clogged[i].0 <= now && now < self.clogged[i].1;
                clogged(from) || clogged(to)
            }
            _ => self.covers(len, from, to),
        }
    }

    /// Whether the link is one it concerns.
    #[inline]
    pub(super) fn covers(&self, len: usize, from: usize, to: usize) -> bool {
        self.table[from * len + to]
    }
}

fn between_groups(groups: &[Vec<Endpoint>], map: &Map) -> Vec<bool> {
    let mut group = vec![usize::MAX; map.len()];
    for (g, set) in groups.iter().enumerate() {
        for i in map.members(set) {
            if group[i] == usize::MAX {
                group[i] = g;
            }
        }
    }
    table(map, |a, b| group[a] != usize::MAX && group[b] != usize::MAX && group[a] != group[b])
}

fn one_way(ways: &[(&Vec<Endpoint>, &Vec<Endpoint>)], map: &Map) -> Vec<bool> {
    let mut table = vec![false; map.len() * map.len()];
    for (from, to) in ways {
        let to = map.members(to);
        for a in map.members(from) {
            for &b in &to {
                table[a * map.len() + b] = a != b;
            }
        }
    }
    table
}

fn ring(order: &[Endpoint], map: &Map) -> Vec<bool> {
    let mut place = vec![usize::MAX; map.len()];
    let members = map.members(order);
    for (p, &i) in members.iter().enumerate() {
        place[i] = p;
    }
    let n = members.len();
    table(map, |a, b| {
        let (p, q) = (place[a], place[b]);
        p != usize::MAX && q != usize::MAX && p != q && (p + 1) % n != q && (q + 1) % n != p
    })
}

fn table(map: &Map, cut: impl Fn(usize, usize) -> bool) -> Vec<bool> {
    (0..map.len() * map.len()).map(|i| cut(i / map.len(), i % map.len())).collect()
}

fn swizzle(clog: &[Endpoint], unclog: &[Endpoint], step: u64, now: u64, map: &Map) -> Vec<(u64, u64)> {
    let mut clogged = vec![(u64::MAX, 0); map.len()];
    for (i, &endpoint) in map.members(clog).iter().enumerate() {
        clogged[endpoint] = (now + i as u64 * step, u64::MAX);
    }
    for (i, &endpoint) in map.members(unclog).iter().enumerate() {
        clogged[endpoint].1 = now + (clog.len() + i) as u64 * step;
    }
    clogged
}
