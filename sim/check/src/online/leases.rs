//! Leases: they live as long as a client may rely on, and not much longer; what the log says of them is what every replica does.
//!
//! - **No early expiry:** from the moment s at which a grant, or a keep-alive that was answered, was first sent, the lease lives until s + TTL/(1+ρ).
//!   Judged when an expiry is applied anywhere, and again when a client is told that its keep-alive was granted.
//! - **The leader's side:** only a leader that has promoted decides, answers after a round of leadership begun for that question, takes the
//!   reading of the receipt, and keeps alive nothing that it has given up; a time to live does not grow by itself.
//! - **The log's side:** a revoke is stamped with the term of its decision and does nothing in an entry of another; it deletes exactly what is
//!   attached, in one revision, or makes none; a put with a lease that is not there fails.
//! - **What a client is told:** what a leader said; a time to live as of the applied index that its answer names, by the replay of the log, and
//!   of no state before what had been acknowledged when it was asked.
//! - **No late expiry:** a leader decides within one scan of max(its last receipt, its promotion, the grant) + TTL/(1−ρ), at any time, faults or
//!   none: it needs nobody for that. Only standing still excuses it, and then it decides at once when it goes on. That the revoke is committed
//!   takes others, so it is judged after the heal: the lease is gone by max(last receipt, last promotion, heal) + TTL/(1−ρ) + one scan + one commit.

use std::collections::{BTreeMap, BTreeSet};

use curp::{Applied, Event as NodeEvent, Index, Nanos, NodeId, Payload, ProposeId, Synced, Term};
use history::{ClientEvent, Event, Stamped, WorldEvent};
use kv::{Error, LEASE_NONE, LeaseEvent, LeaseId, Request, Response};

use super::ghost::{Entry, Ghost};
use super::report::{At, Check, Report};
use crate::conflict::may_write;
use crate::replay::FIRST_REVISION;
use crate::words::{self, span};

pub(super) const NOT_EARLY: &str = "a lease lives as long as a client that kept it alive may rely on";
pub(super) const NOT_LATE: &str = "a lease that nobody keeps alive goes";
pub(super) const IN_TIME: &str = "a leader decides that a lease has expired as soon as its time is over";
pub(super) const KEPT_ONLY_ALIVE: &str = "no keep-alive is granted that was sent after its lease was gone";
pub(super) const THERE: &str = "a time to live is told of a lease that is there, and of no other";
pub(super) const LEADS: &str = "only a leader that has promoted the leases speaks of them";
pub(super) const CONFIRMED: &str = "a keep-alive or a time to live is answered after a round of leadership begun for it";
pub(super) const GIVEN_UP: &str = "from the decision to expire on, a lease is kept alive no more";
pub(super) const REFUSED: &str = "a keep-alive is refused only of a lease that is not there, or has expired";
pub(super) const FROM_RECEIPT: &str = "a keep-alive gives the full time from the clock reading of its receipt";
pub(super) const NOT_GROWING: &str = "a time to live does not grow without a keep-alive or a promotion";
pub(super) const STAMPED: &str = "a server revokes a lease only by a decision of the term that it is stamped with";
pub(super) const VOID: &str = "a revoke decided in another term than its entry's does nothing";
pub(super) const TOGETHER: &str = "a revoke deletes exactly the attached keys in one revision, and makes none without";
pub(super) const UNKNOWN: &str = "a put with a lease that is not there fails";
pub(super) const AS_LOGGED: &str = "what names a lease comes to what the log says, on every replica";
pub(super) const KEYS: &str = "a lease's keys are exactly those attached";
pub(super) const AS_SAID: &str = "a client is told of a lease what a leader answered";
pub(super) const GRANTED: &str = "a keep-alive gives the time to live that its lease was granted";
pub(super) const REACHED: &str = "a time to live is told of a state that a node has reached";
pub(super) const AS_SERVED: &str = "a time to live is told as of the applied index at which it was served";
pub(super) const UP_TO_DATE: &str = "a time to live misses nothing that was acknowledged before it was asked";

const CHECK: Check = Check::Leases;
const SECOND: Nanos = 1_000_000_000;
/// One scan: a node that wants to look at a moment looks at its next tick, which is at most 10 ms later, and its shell may be about its other work.
/// A tick decides about 256 leases, so this is enough for a thousand that are due together, far more than a run has.
const SCAN: Nanos = 50_000_000;
/// One commit, after the heal: what was begun before it may still hold the revoke up (leadership that is being handed over, for an election
/// timeout of at most 600 ms), then it waits to be tried again (at most 500 ms), and is committed and applied in ordinary weather, where a
/// message lost costs a heartbeat or two. Elections do not count: each promotes, and the time begins anew.
const COMMIT: Nanos = 2_500_000_000;

/// A read's name.
type Read = (u32, u64);

/// A lease from its grant to its end. A name can have several, one after the other.
struct Life {
    ttl: i64,
    /// The entry of its grant.
    index: Index,
    /// The id of that.
    id: Option<ProposeId>,
    /// When its client asked for it, and the event.
    sent: (Nanos, u64),
    /// When it was first applied.
    granted: Nanos,
    /// The last keep-alive of it that was answered: when that was sent, and the event.
    kept: Option<(Nanos, u64)>,
    gone: Option<Gone>,
}

impl Life {
    /// Whether the lease is there in the state after this entry.
    fn is_there_at(&self, index: Index) -> bool {
        self.index <= index && self.gone.is_none_or(|gone| gone.index > index)
    }
}

#[derive(Clone, Copy)]
struct Gone {
    at: Nanos,
    index: Index,
    event: u64,
    /// By a server's own revoke.
    expired: bool,
}

/// A time to live that was told.
struct Told {
    term: Term,
    ttl: i64,
    event: u64,
}

/// A question for a lease that was sent.
#[derive(Clone, Copy)]
struct Asked {
    lease: LeaseId,
    sent: (Nanos, u64),
    /// The keys are wanted too.
    keys: bool,
}

#[derive(Default)]
pub(super) struct Leases {
    /// ρ, in parts per million.
    drift_ppm: u64,
    lives: BTreeMap<LeaseId, Vec<Life>>,
    /// When each grant was proposed, and the event.
    grants: BTreeMap<ProposeId, (Nanos, u64)>,
    /// When a client first had the answer that a lease is granted: by which id, be that applied anywhere or not.
    answered: BTreeMap<LeaseId, (ProposeId, Nanos)>,
    asked: BTreeMap<Read, Asked>,
    /// The reads behind an operation, each by another gateway; of a stream of keep-alives those since its last answer.
    reads: BTreeMap<u64, Vec<Read>>,
    /// The times to live that leaders answered a read with.
    said: BTreeMap<Read, BTreeSet<i64>>,
    /// Writes that a client was told of, and the event.
    acknowledged: Vec<(u64, ProposeId)>,
    /// The term in which a node has promoted, while it leads.
    promoted: BTreeMap<NodeId, Term>,
    decided: BTreeMap<(NodeId, LeaseId), (Term, u64)>,
    /// Decisions of all terms, for the revokes that they lead to.
    decisions: BTreeMap<(Term, LeaseId), u64>,
    told: BTreeMap<(NodeId, LeaseId), Told>,
    /// Rounds begun for a read.
    rounds: BTreeMap<(NodeId, Read), (Term, u64)>,
    /// The latest round that a node is known to have led after.
    led: BTreeMap<NodeId, (Term, u64)>,
    /// The last receipt of a keep-alive of each lease, and the last promotion.
    received: BTreeMap<LeaseId, Nanos>,
    last_promotion: Nanos,
    /// When a leader that has promoted must have decided about a lease that it lets live, on a true clock.
    due: BTreeMap<(NodeId, LeaseId), Nanos>,
    /// Who stands still, and since when.
    paused: BTreeMap<NodeId, Nanos>,
    healed: Option<Nanos>,
}

impl Leases {
    pub fn new(drift_ppm: u32) -> Self {
        Leases { drift_ppm: u64::from(drift_ppm).min(900_000), ..Leases::default() }
    }

    /// How long a client may rely on a lease, on a true clock.
    fn promise(&self, ttl: i64) -> Nanos {
        scaled(ttl, 1_000_000, 1_000_000 + self.drift_ppm)
    }

    /// After the ghost took the event in.
    pub fn after(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        match (&stamped.event, stamped.node) {
            (Event::Lease(event), Some(node)) => self.lease_event(g, node, event, at, r),
            (Event::Node(event), Some(node)) => self.node_event(g, node, event, at, r),
            (Event::Client(event), _) => self.client_event(g, event, at, r),
            (Event::World(WorldEvent::Heal), _) => self.healed = Some(at.t),
            (Event::World(WorldEvent::Pause), Some(node)) => _ = self.paused.entry(node).or_insert(at.t),
            (Event::World(WorldEvent::Resume), Some(node)) => {
                self.overdue(node, at, r);
                self.paused.remove(&node);
                let of_node = self.due.range_mut((node, LeaseId::MIN)..=(node, LeaseId::MAX));
                of_node.for_each(|(_, by)| *by = (*by).max(at.t + SCAN));
            }
            (Event::World(WorldEvent::Crash { .. } | WorldEvent::Fatal { .. }), Some(node)) => {
                self.forget(node, at, r);
                self.paused.remove(&node);
            }
            _ => {}
        }
    }

    /// The longest that a lease may have from a moment on, on a true clock.
    fn longest(&self, from: Nanos, ttl: i64) -> Nanos {
        from.saturating_add(scaled(ttl, 1_000_000, 1_000_000 - self.drift_ppm))
    }

    /// A leader lets a lease live its full time from now on.
    fn lives_on(&mut self, node: NodeId, lease: LeaseId, ttl: i64, at: At) {
        let by = self.longest(at.t, ttl).saturating_add(SCAN);
        let due = self.due.entry((node, lease)).or_insert(by);
        *due = (*due).max(by);
    }

    /// A node's decisions are late by now. While it stands still it decides nothing.
    fn overdue(&self, node: NodeId, at: At, r: &mut Report) {
        let now = self.paused.get(&node).copied().unwrap_or(at.t);
        for ((_, lease), by) in self.due.range((node, LeaseId::MIN)..=(node, LeaseId::MAX)) {
            r.expect(CHECK, IN_TIME, at, now <= *by, || (undecided(node, *lease, now - *by), Vec::new()));
        }
    }

    /// At the end of the run: what nobody kept alive is gone.
    pub fn finish(&self, at: At, r: &mut Report) {
        self.promoted.keys().for_each(|node| self.overdue(*node, at, r));
        for (id, life) in self.lives.iter().filter_map(|(id, lives)| Some((*id, lives.last().filter(|life| life.gone.is_none())?))) {
            self.not_late(id, life, "is still there", at, r);
        }
    }

    /// A lease is there, or was until now: that is not too late.
    fn not_late(&self, id: LeaseId, life: &Life, still: &str, at: At, r: &mut Report) {
        let Some(healed) = self.healed else { return };
        let since = self.received.get(&id).copied().unwrap_or(0).max(life.granted).max(self.last_promotion).max(healed);
        let bound = self.longest(since, life.ttl).saturating_add(SCAN + COMMIT);
        r.expect(CHECK, NOT_LATE, at, at.t <= bound, || {
            let message = format!(
                "lease {id} of {} s {still} {} after it was last kept alive or promoted, and the faults have ended",
                life.ttl,
                span(at.t - since)
            );
            (message, vec![life.sent.1])
        });
    }

    fn forget(&mut self, node: NodeId, at: At, r: &mut Report) {
        self.overdue(node, at, r);
        self.due.retain(|(of, _), _| *of != node);
        self.promoted.remove(&node);
        self.decided.retain(|(of, _), _| *of != node);
        self.told.retain(|(of, _), _| *of != node);
    }

    fn lease_event(&mut self, g: &Ghost, node: NodeId, event: &LeaseEvent, at: At, r: &mut Report) {
        let spoken = match event {
            LeaseEvent::PromoteLeases { term, .. } => {
                self.forget(node, at, r);
                self.promoted.insert(node, *term);
                self.last_promotion = at.t;
                let applied = g.find(node).map_or(0, |slot| g.nodes[slot].applied);
                let there = |lives: &[Life]| Some(lives.iter().find(|life| life.is_there_at(applied))?.ttl);
                let leases = self.lives.iter().filter_map(|(id, lives)| Some((*id, there(lives)?)));
                for (lease, ttl) in leases.collect::<Vec<_>>() {
                    self.lives_on(node, lease, ttl, at);
                }
                let leader = g.leaders.get(term).map(|(leader, _)| *leader);
                r.expect(CHECK, LEADS, at, leader == Some(node), || {
                    (format!("node {node} promoted the leases in term {term}, whose leader it is not"), Vec::new())
                });
                return;
            }
            LeaseEvent::DemoteLeases { .. } => return self.forget(node, at, r),
            LeaseEvent::ReceiveKeepAlive { term, lease, .. }
            | LeaseEvent::AnswerKeepAlive { term, lease, .. }
            | LeaseEvent::AnswerTimeToLive { term, lease, .. }
            | LeaseEvent::DecideExpiry { term, lease, .. } => (*term, *lease),
        };
        let (term, lease) = spoken;
        r.expect(CHECK, LEADS, at, self.promoted.get(&node) == Some(&term), || {
            (
                format!("node {node} speaks of lease {lease} in term {term}, in which it does not lead, or has not promoted the leases"),
                Vec::new(),
            )
        });
        let decided = self.decided.get(&(node, lease)).filter(|(of, _)| *of == term).map(|(_, event)| *event);
        let given_up = |r: &mut Report, alive: bool, what: &str| {
            r.expect(CHECK, GIVEN_UP, at, decided.is_none() || !alive, || {
                (
                    format!("node {node} had decided in term {term} that lease {lease} has expired, and then {what}"),
                    decided.into_iter().collect(),
                )
            });
        };
        match event {
            LeaseEvent::ReceiveKeepAlive { now, deadline, .. } => {
                given_up(r, deadline.is_some(), "put its deadline off");
                let Some(deadline) = *deadline else { return };
                self.received.insert(lease, at.t);
                self.told.remove(&(node, lease));
                let ttls = || self.lives.get(&lease).into_iter().flatten().map(|life| life.ttl);
                let (ttl, longest) = (ttls().min().unwrap_or(0), ttls().max().unwrap_or(0));
                self.lives_on(node, lease, longest, at);
                r.expect(CHECK, FROM_RECEIPT, at, deadline >= now.saturating_add(seconds(ttl)), || {
                    let message = format!(
                        "node {node} received a keep-alive of lease {lease} of {ttl} s, and set its deadline only {} after the reading of that moment",
                        span(deadline.saturating_sub(*now))
                    );
                    (message, Vec::new())
                });
            }
            LeaseEvent::AnswerKeepAlive { read, ttl, .. } => {
                given_up(r, *ttl > 0, "kept it alive");
                self.said.entry(*read).or_default().insert(*ttl);
                if *ttl > 0 {
                    self.confirmed(node, term, *read, || format!("kept lease {lease} alive"), at, r);
                }
                let Some(Asked { sent, .. }) = self.asked.get(read).filter(|_| *ttl <= 0) else { return };
                r.expect(CHECK, REFUSED, at, decided.is_some() || !self.is_there_since(lease, sent.0), || {
                    let message = format!(
                        "node {node} refused in term {term} to keep lease {lease} alive, which was granted before that was asked, is there, and which it had not decided to end"
                    );
                    (message, vec![sent.1])
                });
            }
            LeaseEvent::AnswerTimeToLive { read, ttl, .. } => {
                given_up(r, *ttl > 0, &format!("told {ttl} s to live"));
                self.said.entry(*read).or_default().insert(*ttl);
                self.confirmed(node, term, *read, || format!("told {ttl} s to live of lease {lease}"), at, r);
                let before = self.told.insert((node, lease), Told { term, ttl: *ttl, event: at.event });
                let before = before.filter(|told| told.term == term);
                let grows = before.as_ref().is_some_and(|told| *ttl > told.ttl);
                r.expect(CHECK, NOT_GROWING, at, !grows, || {
                    let (was, event) = before.map_or((0, 0), |told| (told.ttl, told.event));
                    (
                        format!(
                            "node {node} told that lease {lease} has {ttl} s to live, after {was} s, and nothing kept it alive in between"
                        ),
                        vec![event],
                    )
                });
            }
            LeaseEvent::DecideExpiry { .. } => {
                if let Some(by) = self.due.remove(&(node, lease)) {
                    r.expect(CHECK, IN_TIME, at, at.t <= by, || (undecided(node, lease, at.t - by), Vec::new()));
                }
                self.decided.insert((node, lease), (term, at.event));
                self.decisions.entry((term, lease)).or_insert(at.event);
            }
            LeaseEvent::PromoteLeases { .. } | LeaseEvent::DemoteLeases { .. } => {}
        }
    }

    /// A node answers a read as the leader of that term: it must have led after the read came.
    fn confirmed(&self, node: NodeId, term: Term, read: Read, did: impl Fn() -> String, at: At, r: &mut Report) {
        let began = self.rounds.get(&(node, read)).filter(|(of, _)| *of == term);
        let led = self.led.get(&node);
        let confirmed = began.zip(led).is_some_and(|(began, led)| began <= led && led.0 == term);
        r.expect(CHECK, CONFIRMED, at, confirmed, || {
            let message =
                format!("node {node} {} in term {term}, and no round of heartbeats begun after it was asked says that it still led", did());
            (message, self.asked.get(&read).map(|asked| asked.sent.1).into_iter().collect())
        });
    }

    fn node_event(&mut self, g: &Ghost, node: NodeId, event: &NodeEvent<Request>, at: At, r: &mut Report) {
        match event {
            NodeEvent::Restart { .. } | NodeEvent::ShutDown { .. } => self.forget(node, at, r),
            NodeEvent::ReadRequest { term, round, read, .. } => {
                // Of several the first: it began when the question first came.
                let began = self.rounds.entry((node, *read)).or_insert((*term, *round));
                if began.0 < *term {
                    *began = (*term, *round);
                }
            }
            NodeEvent::ReadIndex { term, round, .. } => {
                let led = self.led.entry(node).or_default();
                *led = (*led).max((*term, *round));
            }
            NodeEvent::LeaderPropose { entry, .. } => self.proposes(node, entry, at, r),
            NodeEvent::Apply { index, outcome: Applied::Done(synced), .. } => self.applies(g, node, *index, synced, at, r),
            _ => {}
        }
    }

    /// A leader's own command enters its log.
    fn proposes(&self, node: NodeId, entry: &Entry, at: At, r: &mut Report) {
        let Payload::Own { command } = &entry.payload else { return };
        let Request::LeaseRevoke(revoke) = &**command else { return };
        let decided = revoke.stamp.is_some_and(|stamp| self.decisions.contains_key(&(stamp, revoke.id)));
        r.expect(CHECK, STAMPED, at, decided, || {
            let stamp =
                revoke.stamp.map_or("without a stamp".to_owned(), |term| format!("stamped with term {term}, in which nobody decided so"));
            (format!("node {node} proposed to revoke lease {}, {stamp}", revoke.id), Vec::new())
        });
    }

    /// Holds what names a lease against the replay of the log, on every node; and on the first, takes it in.
    fn applies(&mut self, g: &Ghost, node: NodeId, index: Index, synced: &Synced<Response>, at: At, r: &mut Report) {
        let Some(place) = index.checked_sub(1).map(|i| i as usize) else { return };
        let Some((entry, first)) = g.committed.get(place).map(|c| &c.entry).zip(g.applied.get(place)) else { return };
        let Some((request, expected)) = entry.command().zip(first.expected.as_ref()) else { return };
        if !names_lease(request) {
            return;
        }
        r.judged(CHECK);
        if synced != expected {
            let rule = match (request, &expected.response) {
                (Request::LeaseRevoke(_), Response::Error(Error::LeaderChanged)) => VOID,
                (Request::LeaseRevoke(_), Response::LeaseRevoke) if synced.response == expected.response => TOGETHER,
                (Request::Put(_) | Request::Txn(_), Response::Error(Error::LeaseNotFound)) => UNKNOWN,
                _ => AS_LOGGED,
            };
            r.violate(CHECK, rule, at, || {
                let say =
                    |synced: &Synced<Response>| format!("{} at revision {}", words::response(request, &synced.response), synced.revision);
                let message = format!(
                    "{} came to {} on node {node}, in entry {index} of term {}: by the log it comes to {}",
                    words::request(request),
                    say(synced),
                    entry.term,
                    say(expected)
                );
                (message, vec![first.event])
            });
        }
        if let (Request::LeaseGrant(grant), Response::LeaseGrant { .. }) = (request, &synced.response) {
            self.decided.remove(&(node, grant.id));
            self.told.remove(&(node, grant.id));
        }
        match (request, &synced.response) {
            (Request::LeaseGrant(_), Response::LeaseGrant { id, ttl }) if self.promoted.contains_key(&node) => {
                self.lives_on(node, *id, *ttl, at);
            }
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke) => _ = self.due.remove(&(node, revoke.id)),
            _ => {}
        }
        if first.event == at.event {
            self.takes_effect(entry, request, &expected.response, at, r);
        }
    }

    fn takes_effect(&mut self, entry: &Entry, request: &Request, response: &Response, at: At, r: &mut Report) {
        match (request, response) {
            (Request::LeaseGrant(_), Response::LeaseGrant { id, ttl }) => {
                let sent = entry.id().and_then(|id| self.grants.get(&id)).copied().unwrap_or((at.t, at.event));
                self.lives.entry(*id).or_default().push(Life {
                    ttl: *ttl,
                    index: entry.index,
                    id: entry.id(),
                    sent,
                    granted: at.t,
                    kept: None,
                    gone: None,
                });
            }
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke) => {
                let expired = matches!(entry.payload, Payload::Own { .. });
                let Some(life) = self.lives.get_mut(&revoke.id).and_then(|lives| lives.last_mut()) else { return };
                life.gone = Some(Gone { at: at.t, index: entry.index, event: at.event, expired });
                let since = life.kept.map_or(life.sent, |kept| kept.max(life.sent));
                let (ttl, kept) = (life.ttl, life.kept.is_some());
                if expired {
                    let until = since.0.saturating_add(self.promise(ttl));
                    let what = if kept { "a keep-alive that was answered" } else { "its grant" };
                    r.expect(CHECK, NOT_EARLY, at, at.t >= until, || early(revoke.id, ttl, (what, since), at.t, self.drift_ppm));
                    if let Some(life) = self.lives.get(&revoke.id).and_then(|lives| lives.last()) {
                        self.not_late(revoke.id, life, "went only", at, r);
                    }
                }
            }
            _ => {}
        }
    }

    fn client_event(&mut self, g: &Ghost, event: &ClientEvent, at: At, r: &mut Report) {
        if let ClientEvent::FastComplete { id, .. } | ClientEvent::SyncedComplete { id, .. } = event
            && g.command(*id).and_then(|command| command.request.as_ref()).is_some_and(may_write)
        {
            self.acknowledged.push((at.event, *id));
        }
        match event {
            ClientEvent::Propose { id: Some(id), request: Request::LeaseGrant(_), .. } => {
                self.grants.entry(*id).or_insert((at.t, at.event));
            }
            ClientEvent::Propose { op, read: Some(read), request, .. } => {
                let (lease, keys) = match request {
                    Request::LeaseKeepAlive(keep) => (keep.id, false),
                    Request::LeaseTimeToLive(ask) => (ask.id, ask.keys),
                    _ => return,
                };
                self.reads.entry(*op).or_default().push(*read);
                self.asked.entry(*read).or_insert(Asked { lease, sent: (at.t, at.event), keys });
            }
            ClientEvent::FastComplete { id: grant, response: Response::LeaseGrant { id, .. }, .. }
            | ClientEvent::SyncedComplete { id: grant, synced: Synced { response: Response::LeaseGrant { id, .. }, .. }, .. } => {
                let known = self.answered.entry(*id).or_insert((*grant, at.t));
                if known.0 != *grant {
                    *known = (*grant, at.t);
                }
            }
            ClientEvent::SendKeepAlive { op, lease, read } => {
                self.reads.entry(*op).or_default().push(*read);
                self.asked.entry(*read).or_insert(Asked { lease: *lease, sent: (at.t, at.event), keys: false });
            }
            ClientEvent::KeptAlive { op, read, ttl, .. } => {
                let reads = self.reads.remove(op).unwrap_or_default();
                self.as_said(&reads, *ttl, at, r);
                self.kept(*read, *ttl, at, r);
            }
            ClientEvent::ReadComplete { op, applied, synced } => {
                let reads = self.reads.get(op).map_or(&[][..], Vec::as_slice);
                // Of several tries through gateways the first: whichever is answered, it was not sent earlier.
                let Some(read) = reads.first().copied() else { return };
                match &synced.response {
                    Response::LeaseKeepAlive { ttl, .. } => {
                        self.as_said(reads, *ttl, at, r);
                        self.kept(read, *ttl, at, r);
                    }
                    Response::LeaseTimeToLive { ttl, .. } => {
                        self.as_said(reads, *ttl, at, r);
                        self.is_there(read, *ttl, at, r);
                        self.as_served(g, read, *applied, synced, at, r);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A client is told a time to live, by way of one of these reads: a leader answered that.
    fn as_said(&self, reads: &[Read], ttl: i64, at: At, r: &mut Report) {
        let said = || reads.iter().filter_map(|read| self.said.get(read)).flatten();
        r.expect(CHECK, AS_SAID, at, said().any(|said| *said == ttl), || {
            let asked = reads.first().and_then(|read| self.asked.get(read));
            let of = asked.map_or_else(|| "a lease".to_owned(), |asked| format!("lease {}", asked.lease));
            let said: Vec<String> = said().map(|ttl| format!("{ttl} s")).collect();
            let but = if said.is_empty() { "nothing".to_owned() } else { said.join(" or ") };
            (
                format!("a client was told that {of} has {ttl} s to live, and the leaders had answered {but}"),
                asked.map(|a| a.sent.1).into_iter().collect(),
            )
        });
    }

    /// A client is told that its keep-alive was granted: now it relies on it.
    fn kept(&mut self, read: Read, ttl: i64, at: At, r: &mut Report) {
        let Some(Asked { lease, sent, .. }) = self.asked.get(&read).filter(|_| ttl > 0) else { return };
        let (lease, sent) = (*lease, *sent);
        let promised = |life: &Life| sent.0.saturating_add(self.promise(life.ttl));
        let lives = self.lives.get(&lease).map_or(&[][..], Vec::as_slice);
        let alive_when_sent = |life: &&Life| life.gone.is_none_or(|gone| gone.at >= sent.0);
        let last = lives.iter().rev().find(alive_when_sent);
        r.expect(CHECK, KEPT_ONLY_ALIVE, at, last.is_some(), || {
            let gone = lives.last().and_then(|life| life.gone);
            let how = gone.map_or("was never granted".to_owned(), |gone| format!("had been gone for {}", span(sent.0 - gone.at)));
            (
                format!("a keep-alive of lease {lease} was granted, which {how} when it was sent"),
                gone.map(|g| g.event).into_iter().chain([sent.1]).collect(),
            )
        });
        let Some(last) = last else { return };
        r.expect(CHECK, GRANTED, at, lives.iter().filter(alive_when_sent).any(|life| life.ttl == ttl), || {
            let message = format!("a keep-alive of lease {lease} gave it {ttl} s, and it was granted {} s", last.ttl);
            (message, vec![last.sent.1, sent.1])
        });
        // If it ended since, but not too early (another's life may be meant, too), nothing was promised in vain.
        let kept_word = |life: &Life| life.gone.is_none_or(|gone| !gone.expired || gone.at >= promised(life));
        let holds = lives.iter().filter(|life| alive_when_sent(life)).any(kept_word);
        r.expect(CHECK, NOT_EARLY, at, holds, || {
            let gone = last.gone.map_or((at.t, at.event), |gone| (gone.at, gone.event));
            let (message, mut evidence) = early(lease, last.ttl, ("a keep-alive that was granted", sent), gone.0, self.drift_ppm);
            evidence.push(gone.1);
            (message, evidence)
        });
        if let Some(life) =
            self.lives.get_mut(&lease).and_then(|lives| lives.last_mut()).filter(|life| life.gone.is_none() && sent.0 >= life.granted)
        {
            life.kept = life.kept.max(Some(sent));
        }
    }

    /// Whether a lease was granted before a moment, and is there: by what is applied, or by what a client was told of what will be.
    fn is_there_since(&self, lease: LeaseId, sent: Nanos) -> bool {
        let lives = self.lives.get(&lease).map_or(&[][..], Vec::as_slice);
        let answered = self.answered.get(&lease).filter(|(_, at)| *at < sent);
        let granted = |life: &Life| life.granted < sent || answered.is_some_and(|(id, _)| life.id == Some(*id));
        let to_come = answered.is_some_and(|(id, _)| !lives.iter().any(|life| life.id == Some(*id)));
        to_come || lives.iter().any(|life| granted(life) && life.gone.is_none())
    }

    /// A lease that was there all the time is told of; one that never was is not.
    fn is_there(&self, read: Read, ttl: i64, at: At, r: &mut Report) {
        let Some(Asked { lease, sent, .. }) = self.asked.get(&read) else { return };
        let lives = self.lives.get(lease).map_or(&[][..], Vec::as_slice);
        let at_all = lives.iter().any(|life| life.gone.is_none_or(|gone| gone.at >= sent.0));
        let always = lives.iter().any(|life| life.granted < sent.0 && life.gone.is_none());
        r.expect(CHECK, THERE, at, if ttl < 0 { !always } else { at_all }, || {
            let (told, but) =
                if ttl < 0 { ("is not there", "it was, all the while") } else { ("is there", "it was gone before that was asked") };
            (format!("a client was told that lease {lease} {told}, and {but}"), vec![sent.1])
        });
    }

    /// What a client was told of a lease, against the replay of the log up to the place that the answer names.
    fn as_served(&self, g: &Ghost, read: Read, applied: Index, synced: &Synced<Response>, at: At, r: &mut Report) {
        let Some(Asked { lease, sent, keys: wanted }) = self.asked.get(&read).copied() else { return };
        let Response::LeaseTimeToLive { id, ttl, granted_ttl, keys } = &synced.response else { return };
        let reached = applied <= g.applied.len() as Index;
        r.expect(CHECK, REACHED, at, reached, || {
            let message = format!(
                "a client was told of lease {lease} as of log index {applied}, and nobody has applied more than {}",
                g.applied.len()
            );
            (message, vec![sent.1])
        });
        if !reached {
            return;
        }
        let before = g.applied.iter().take(applied as usize).rev();
        let revision = before.filter_map(|first| first.expected.as_ref()).next().map_or(FIRST_REVISION, |last| last.revision);
        let life = self.lives.get(&lease).and_then(|lives| lives.iter().find(|life| life.is_there_at(applied)));
        let fits = match life {
            Some(life) => (0..=life.ttl).contains(ttl) && *granted_ttl == life.ttl,
            None => *ttl == -1 && *granted_ttl == 0,
        };
        r.expect(CHECK, AS_SERVED, at, *id == lease && fits && synced.revision == revision, || {
            let so = life.map_or("is not there".to_owned(), |life| format!("was granted {} s", life.ttl));
            let message = format!(
                "a client was told at log index {applied} and revision {} that lease {id} has {ttl} s of {granted_ttl} s to live: by the log it {so}, at revision {revision}",
                synced.revision
            );
            (message, vec![sent.1])
        });
        let attached = life.filter(|_| wanted).map_or_else(Vec::new, |_| g.store.attached_at(lease, revision));
        r.expect(CHECK, KEYS, at, *keys == attached, || {
            let list = |keys: &[kv::Bytes]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            (
                format!(
                    "lease {lease} was said to have the keys [{}] at revision {revision}, where it has [{}]",
                    list(keys),
                    list(&attached)
                ),
                vec![sent.1],
            )
        });
        let missed = self.missed(g, lease, wanted, sent.1, applied);
        r.expect(CHECK, UP_TO_DATE, at, missed.is_none(), || {
            let before = missed.map_or_else(String::new, |(_, id)| g.tell(id));
            let message = format!(
                "a client was told of lease {lease} as of log index {applied}, without {before}, which had been acknowledged before that was asked"
            );
            (message, missed.map(|(event, _)| event).into_iter().chain([sent.1]).collect())
        });
    }

    /// What was acknowledged before an event, changes what a question for a lease asks for, and stands nowhere up to that index.
    fn missed(&self, g: &Ghost, lease: LeaseId, keys: bool, before: u64, applied: Index) -> Option<(u64, ProposeId)> {
        let earlier = &self.acknowledged[..self.acknowledged.partition_point(|(event, _)| *event < before)];
        let matters = |request: &Request| match request {
            Request::LeaseGrant(grant) => keys || grant.id == lease,
            Request::LeaseRevoke(revoke) => keys || revoke.id == lease,
            // Which keys are attached hangs on every write.
            _ => keys,
        };
        let missed = |(_, id): &&(u64, ProposeId)| {
            let command = g.command(*id).filter(|command| command.request.as_ref().is_some_and(matters));
            command.is_some_and(|command| command.done.is_none_or(|index| index > applied))
        };
        earlier.iter().find(missed).copied()
    }
}

fn undecided(node: NodeId, lease: LeaseId, late: Nanos) -> String {
    format!(
        "node {node} leads, and had not decided that lease {lease} has expired {} after the latest moment at which it should have",
        span(late)
    )
}

fn early(lease: LeaseId, ttl: i64, (what, since): (&str, (Nanos, u64)), gone: Nanos, drift_ppm: u64) -> (String, Vec<u64>) {
    let message = format!(
        "lease {lease} of {ttl} s expired {} after {what} was sent, {} too early for a client that trusts clocks to {drift_ppm} ppm",
        span(gone.saturating_sub(since.0)),
        span((since.0 + scaled(ttl, 1_000_000, 1_000_000 + drift_ppm)).saturating_sub(gone))
    );
    (message, vec![since.1])
}

fn seconds(ttl: i64) -> Nanos {
    u64::try_from(ttl).unwrap_or(0).saturating_mul(SECOND)
}

/// A time to live, stretched.
fn scaled(ttl: i64, times: u64, by: u64) -> Nanos {
    u64::try_from(u128::from(seconds(ttl)) * u128::from(times) / u128::from(by.max(1))).unwrap_or(u64::MAX)
}

fn names_lease(request: &Request) -> bool {
    match request {
        Request::LeaseGrant(_) | Request::LeaseRevoke(_) => true,
        Request::Put(put) => put.lease != LEASE_NONE,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(names_lease),
        _ => false,
    }
}
