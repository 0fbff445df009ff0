//! Roles: a plan says "the leader", and the engine finds out who that is when the fault begins.

use crate::{FaultKind, Shape};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use world::{DiskFault, Endpoint, NetFault};

/// A node, by id or by role. In text: `n3`, `leader`, `follower2`, `newest`, `anchor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The node of this id; the first is 1.
    Node(u32),
    /// The leader of the latest term that has one.
    Leader,
    /// The k-th member after the leader, by id, going around and leaving the leader out; the first is 1. Without a leader, the k-th member.
    Follower(u32),
    /// The node that joined last, from when it first starts on.
    Newest,
    /// The node at which the anchor's probe fired. For a probe that fires at a client, the leader that answered it.
    AnchorNode,
}

/// A member of a set of endpoints. In text: what a [`Target`] is, `c2`, `nodes`, `followers` (all nodes but the leader), `clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A node.
    Node(Target),
    /// A client; the first is 1.
    Client(u32),
    /// Every node.
    Nodes,
    /// Every node but the leader.
    Followers,
    /// Every client.
    Clients,
}

/// Who is who at the moment a fault begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The members, learners too, rising: those of the latest configuration that is known to be committed.
    pub nodes: Vec<u32>,
    /// The node that joined last.
    pub newest: Option<u32>,
    /// Clients 1..=clients.
    pub clients: u32,
    /// The leader of the latest term that has one.
    pub leader: Option<u32>,
    /// The node at which the fault's anchor fired.
    pub anchor: Option<u32>,
}

impl Target {
    /// The node it is now; `None` if there is none, and then the fault does not happen.
    pub fn resolve(self, roles: &Roles) -> Option<u32> {
        match self {
            Target::Node(n) => Some(n),
            Target::Leader => roles.leader,
            Target::Follower(k) => roles.follower(k),
            Target::Newest => roles.newest,
            Target::AnchorNode => roles.anchor,
        }
    }
}

impl Roles {
    /// The endpoints of a set; roles that nobody has are left out.
    pub fn resolve(&self, set: &[Member]) -> Vec<Endpoint> {
        let mut out = Vec::with_capacity(set.len());
        for member in set {
            match *member {
                Member::Node(target) => out.extend(target.resolve(self).map(Endpoint::Node)),
                Member::Client(c) => out.push(Endpoint::Client(c)),
                Member::Nodes => out.extend(self.nodes.iter().copied().map(Endpoint::Node)),
                Member::Followers => out.extend(self.nodes.iter().copied().filter(|&n| Some(n) != self.leader).map(Endpoint::Node)),
                Member::Clients => out.extend((1..=self.clients).map(Endpoint::Client)),
            }
        }
        out
    }

    /// The place of the leader among the members.
    fn leader_place(&self) -> Option<usize> {
        self.nodes.iter().position(|n| Some(*n) == self.leader)
    }

    /// The k-th member after the leader, going around the others.
    fn follower(&self, k: u32) -> Option<u32> {
        let k = (k as usize).checked_sub(1)?;
        match self.leader_place() {
            Some(leader) => {
                let others = self.nodes.len() - 1;
                (others > 0).then(|| self.nodes[(leader + 1 + k % others) % self.nodes.len()])
            }
            None => (!self.nodes.is_empty()).then(|| self.nodes[k % self.nodes.len()]),
        }
    }

    fn nodes_but(&self, side: &[Endpoint]) -> Vec<Endpoint> {
        self.nodes.iter().copied().map(Endpoint::Node).filter(|n| !side.contains(n)).collect()
    }
}

impl FaultKind {
    /// The fault of the network that this is now; `None` if it is none, or is about a role that nobody has.
    pub fn net_fault(&self, roles: &Roles) -> Option<NetFault> {
        match self {
            FaultKind::Partition { shape, .. } => shape.net_fault(roles),
            FaultKind::SlowLink { from, to, extra_us, .. } => {
                Some(NetFault::SlowLink { from: roles.resolve(from), to: roles.resolve(to), extra_us: *extra_us })
            }
            &FaultKind::Storm { loss_ppm, duplicate_ppm, reorder_ppm, reorder_us_max, late_ppm, late_us_max, .. } => {
                Some(NetFault::Storm { loss_ppm, duplicate_ppm, reorder_ppm, reorder_us_max, late_ppm, late_us_max })
            }
            _ => None,
        }
    }

    /// The fault of the target's disk that this is, if it is one.
    pub fn disk_fault(&self) -> Option<DiskFault> {
        match *self {
            FaultKind::SlowDisk { factor, .. } => Some(DiskFault::Slow { factor }),
            FaultKind::SyncError { chance_ppm, .. } => Some(DiskFault::SyncError { chance_ppm }),
            _ => None,
        }
    }
}

impl Shape {
    fn net_fault(&self, roles: &Roles) -> Option<NetFault> {
        let groups = |groups: &[Vec<Member>]| groups.iter().map(|g| roles.resolve(g)).collect();
        Some(match self {
            Shape::Symmetric { groups: g } => NetFault::Symmetric { groups: groups(g) },
            Shape::OneWay { from, to } => NetFault::OneWay { from: roles.resolve(from), to: roles.resolve(to) },
            Shape::Isolate { node, direction, with, without } => {
                let (side, others) = sides(roles, &[node.resolve(roles)?], with, without);
                NetFault::Isolate { side, others, direction: *direction }
            }
            Shape::Bridge { left, right } => NetFault::Bridge { left: roles.resolve(left), right: roles.resolve(right) },
            Shape::Ring { order } => NetFault::Ring { order: roles.resolve(order) },
            Shape::MajorityMinority { size, with_leader, first, with, without } => {
                // Without a leader the first member stands for it.
                let leader = roles.leader_place().map_or(roles.nodes.first().copied(), |place| Some(roles.nodes[place]));
                let around = Roles { leader, ..roles.clone() };
                let followers = roles.nodes.len().saturating_sub(1) as u32;
                let mut small: Vec<u32> = leader.filter(|_| *with_leader).into_iter().collect();
                for i in 0..followers.min(size.saturating_sub(small.len() as u32)) {
                    small.extend(around.follower((first + i) % followers + 1));
                }
                let (minority, majority) = sides(roles, &small, with, without);
                NetFault::MajorityMinority { minority, majority }
            }
            Shape::Flapping { groups: g, on_us, off_us } => NetFault::Flapping { groups: groups(g), on_us: *on_us, off_us: *off_us },
            Shape::Swizzle { clog, unclog, step_us } => {
                NetFault::Swizzle { clog: roles.resolve(clog), unclog: roles.resolve(unclog), step_us: *step_us }
            }
        })
    }
}

/// The two sides of a cut around some nodes: they and the clients with them; the other nodes and the clients without them.
fn sides(roles: &Roles, nodes: &[u32], with: &[Member], without: &[Member]) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let mut side: Vec<Endpoint> = nodes.iter().map(|&n| Endpoint::Node(n)).collect();
    let mut others = roles.nodes_but(&side);
    side.extend(roles.resolve(with));
    others.extend(roles.resolve(without).into_iter().filter(|e| !side.contains(e)));
    (side, others)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(n) => write!(f, "n{n}"),
            Target::Leader => f.write_str("leader"),
            Target::Follower(k) => write!(f, "follower{k}"),
            Target::Newest => f.write_str("newest"),
            Target::AnchorNode => f.write_str("anchor"),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Node(target) => target.fmt(f),
            Member::Client(c) => write!(f, "c{c}"),
            Member::Nodes => f.write_str("nodes"),
            Member::Followers => f.write_str("followers"),
            Member::Clients => f.write_str("clients"),
        }
    }
}

/// The text names no node, or no member of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberError {
    text: String,
    accepted: &'static str,
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not one of {}", self.text, self.accepted)
    }
}

impl std::error::Error for MemberError {}

impl FromStr for Target {
    type Err = MemberError;

    fn from_str(s: &str) -> Result<Self, MemberError> {
        let wrong = || MemberError { text: s.to_owned(), accepted: "n1, n2, …, leader, follower1, follower2, …, newest, anchor" };
        if let Some(digits) = s.strip_prefix("follower") {
            return match digits.parse() {
                Ok(k) if k > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Target::Follower(k)),
                _ => Err(wrong()),
            };
        }
        match (s, s.parse()) {
            ("leader", _) => Ok(Target::Leader),
            ("anchor", _) => Ok(Target::AnchorNode),
            ("newest", _) => Ok(Target::Newest),
            (_, Ok(Endpoint::Node(n))) => Ok(Target::Node(n)),
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Member {
    type Err = MemberError;

    fn from_str(s: &str) -> Result<Self, MemberError> {
        match (s, s.parse::<Target>(), s.parse::<Endpoint>()) {
            ("nodes", ..) => Ok(Member::Nodes),
            ("followers", ..) => Ok(Member::Followers),
            ("clients", ..) => Ok(Member::Clients),
            (_, Ok(target), _) => Ok(Member::Node(target)),
            (_, _, Ok(Endpoint::Client(c))) => Ok(Member::Client(c)),
            _ => {
                let accepted = "n1, n2, …, leader, follower1, follower2, …, newest, anchor, c1, c2, …, nodes, followers, clients";
                Err(MemberError { text: s.to_owned(), accepted })
            }
        }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Target);
as_text!(Member);

#[cfg(test)]
mod tests {
    use super::*;
    use world::Direction;

    fn roles() -> Roles {
        Roles { nodes: vec![1, 2, 3, 4, 5], newest: None, clients: 2, leader: Some(4), anchor: Some(2) }
    }

    #[test]
    fn text_round_trips() {
        for text in ["n3", "leader", "follower2", "newest", "anchor", "c1", "nodes", "followers", "clients"] {
            assert_eq!(text.parse::<Member>().expect("is accepted").to_string(), text);
        }
        for text in ["", "follower", "follower0", "follower+1", "n0", "all", "Leader"] {
            assert!(text.parse::<Member>().is_err(), "{text}");
        }
        assert!("c1".parse::<Target>().is_err());
    }

    #[test]
    fn followers_go_around_the_leader() {
        let followers: Vec<_> = (1..=4).map(|k| Target::Follower(k).resolve(&roles())).collect();
        assert_eq!(followers, [Some(5), Some(1), Some(2), Some(3)]);
        let leaderless = Roles { leader: None, ..roles() };
        assert_eq!(Target::Leader.resolve(&leaderless), None);
        assert_eq!(Target::Follower(2).resolve(&leaderless), Some(2));
    }

    #[test]
    fn roles_are_those_of_the_members_of_the_moment() {
        let grown = Roles { nodes: vec![2, 4, 5, 7], newest: Some(7), ..roles() };
        let followers: Vec<_> = (1..=4).map(|k| Target::Follower(k).resolve(&grown)).collect();
        assert_eq!(followers, [Some(5), Some(7), Some(2), Some(5)]);
        assert_eq!(Target::Newest.resolve(&grown), Some(7));
        let left = Roles { leader: Some(1), ..grown.clone() };
        assert_eq!(Target::Follower(1).resolve(&left), Some(2), "a leader that was removed is no member");
        let alone = Roles { nodes: vec![4], ..grown };
        assert_eq!(Target::Follower(1).resolve(&alone), None);
        assert_eq!(alone.resolve(&[Member::Nodes, Member::Followers]), [Endpoint::Node(4)]);
    }

    #[test]
    fn an_isolated_leader_keeps_its_clients() {
        let shape = Shape::Isolate {
            node: Target::Leader,
            direction: Direction::Both,
            with: vec![Member::Client(1)],
            without: vec![Member::Clients],
        };
        let Some(NetFault::Isolate { side, others, .. }) = shape.net_fault(&roles()) else { panic!("there is a leader") };
        assert_eq!(side, [Endpoint::Node(4), Endpoint::Client(1)]);
        let nodes = [1, 2, 3, 5].map(Endpoint::Node);
        assert_eq!(others, [&nodes[..], &[Endpoint::Client(2)]].concat());
        assert_eq!(shape.net_fault(&Roles { leader: None, ..roles() }), None);
    }

    #[test]
    fn a_minority_has_its_size() {
        for (with_leader, expect) in [(true, vec![4, 2]), (false, vec![2, 3])] {
            let shape = Shape::MajorityMinority { size: 2, with_leader, first: 2, with: vec![], without: vec![] };
            let Some(NetFault::MajorityMinority { minority, majority }) = shape.net_fault(&roles()) else { panic!("always resolves") };
            assert_eq!(minority, expect.iter().map(|&n| Endpoint::Node(n)).collect::<Vec<_>>());
            assert_eq!(majority.len(), 3);
        }
    }
}
