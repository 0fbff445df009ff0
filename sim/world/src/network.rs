//! The network: what happens to each message.
//!
//! The fate of the n-th message of a link is a function of (seed, link, n) and of the faults active then, and of nothing else. A
//! black hole is silence: the sender learns nothing. [`Network::send`] decides at the moment of sending; an engine asks again with
//! [`Network::deliver`] at the moment of arrival, so a partition also swallows what was on its way.
//!
//! What it does not do: hold messages (the engine's queue does), know what they say, or keep their order on a link.

mod cut;
mod effects;

use crate::{Draw, Draws, Endpoint, NetFault, NetworkParams, Stream, US};
use cut::{Active, Map};
use effects::Effects;

/// What happens to one message: at most two arrivals, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    times: [u64; 2],
    count: u8,
    /// Lost by chance.
    pub lost: bool,
    /// Arrives twice.
    pub duplicated: bool,
    /// Very late: possibly across elections and restarts.
    pub late: bool,
    /// Held back so that later messages overtake it.
    pub reordered: bool,
    /// Swallowed by the partition of this fault.
    pub blocked_by: Option<u32>,
}

impl Fate {
    /// When it arrives, virtual nanoseconds: never, once or twice. Each is later than the sending; the second may come before the first.
    #[inline]
    pub fn arrivals(&self) -> &[u64] {
        &self.times[..usize::from(self.count)]
    }
}

#[derive(Clone, Copy)]
struct Link {
    /// Base latency in nanoseconds; 0 until the link's first message.
    base: u64,
    sent: u64,
}

/// The network of one run.
#[derive(Clone)]
pub struct Network {
    params: NetworkParams,
    messages: Stream,
    amounts: Stream,
    map: Map,
    links: Vec<Link>,
    active: Vec<Active>,
    /// Nothing but latency and jitter, faults aside.
    calm: bool,
    effects: Effects,
}

impl Network {
    /// A network of nodes 1..=`nodes` and clients 1..=`clients`, without faults.
    pub fn new(draws: Draws, params: &NetworkParams, nodes: u32, clients: u32) -> Self {
        let map = Map::new(nodes, clients);
        Network {
            params: params.clone(),
            messages: draws.stream("net"),
            amounts: draws.stream("net.amount"),
            links: vec![Link { base: 0, sent: 0 }; map.len() * map.len()],
            map,
            active: Vec::new(),
            calm: params.is_calm(),
            effects: Effects::default(),
        }
    }

    /// A message leaves `from` for `to`: decides what happens to it.
    ///
    /// # Panics
    /// If an endpoint is not one of those the network was made with.
    #[inline]
    pub fn send(&mut self, now: u64, from: Endpoint, to: Endpoint) -> Fate {
        let (a, b) = (self.map.index(from), self.map.index(to));
        let at = a * self.map.len() + b;
        let entity = from.code() << 32 | to.code();
        let link = &mut self.links[at];
        if link.base == 0 {
            let us = self.amounts.draw(entity, u64::MAX).log_range(self.params.latency_us_min..=self.params.latency_us_max);
            link.base = (us * US).max(1);
        }
        let (n, base) = (link.sent, link.base);
        link.sent += 1;

        let bits = self.messages.draw(entity, 2 * n).0;
        let jitter = ((u128::from(bits & 0xff_ffff) * u128::from(self.params.jitter_us_max * US)) >> 24) as u64;
        let arrival = now + base + jitter;
        let fate = Fate { times: [arrival, 0], count: 1, lost: false, duplicated: false, late: false, reordered: false, blocked_by: None };
        if self.active.is_empty() && self.calm {
            return fate;
        }
        self.special(fate, now, (a, b), entity, n, bits)
    }

    /// Everything that does not happen to most messages.
    fn special(&mut self, mut fate: Fate, now: u64, (a, b): (usize, usize), entity: u64, n: u64, bits: u64) -> Fate {
        let base = &self.params;
        let more = self.messages.draw(entity, 2 * n + 1).0;
        let (tail, reorder) = (bits >> 24 & 0xf_ffff, bits >> 44);
        let (loss, duplicate, late) = (more & 0xf_ffff, more >> 20 & 0xf_ffff, more >> 40 & 0xf_ffff);
        let amount = |k: u64| self.amounts.draw(entity, 4 * n + k);

        if hits(loss, base.loss_ppm) {
            self.effects.lost += 1;
            return Fate { lost: true, count: 0, ..fate };
        }
        if self.active.is_empty() && !base.touches(tail, duplicate, reorder, late) {
            return fate;
        }
        if let Some(i) = self.active.iter().position(|f| f.blocks(self.map.len(), a, b, now)) {
            let id = self.effects.took_place(&self.active[i]);
            return Fate { blocked_by: Some(id), count: 0, ..fate };
        }
        let mut extra = if hits(tail, base.tail_ppm) { amount(0).below(base.tail_us_max * US + 1) } else { 0 };
        let mut what = What {
            duplicate: hits(duplicate, base.duplicate_ppm).then_some(base.reorder_us_max.max(base.late_us_max)),
            reorder: hits(reorder, base.reorder_ppm).then_some(base.reorder_us_max),
            late: hits(late, base.late_ppm).then_some(base.late_us_max),
        };
        self.effects.duplicated += u64::from(what.duplicate.is_some());
        self.effects.reordered += u64::from(what.reorder.is_some());
        self.effects.late += u64::from(what.late.is_some());
        for i in 0..self.active.len() {
            let fault = &self.active[i];
            match fault.net {
                NetFault::SlowLink { extra_us, .. } if fault.covers(self.map.len(), a, b) => {
                    extra += extra_us * US;
                    self.effects.took_place(fault);
                }
                NetFault::Storm { loss_ppm, duplicate_ppm, reorder_ppm, reorder_us_max, late_ppm, late_us_max } => {
                    if hits(loss, loss_ppm) {
                        self.effects.took_place(fault);
                        return Fate { lost: true, count: 0, ..fate };
                    }
                    let before = what.clone();
                    what.duplicate = what.duplicate.or(hits(duplicate, duplicate_ppm).then_some(reorder_us_max.max(late_us_max)));
                    what.reorder = what.reorder.or(hits(reorder, reorder_ppm).then_some(reorder_us_max));
                    what.late = what.late.or(hits(late, late_ppm).then_some(late_us_max));
                    if before != what {
                        self.effects.took_place(fault);
                    }
                }
                _ => {}
            }
        }
        if let Some(us) = what.reorder {
            extra += amount(1).below(us * US + 1);
        }
        if let Some(us) = what.late {
            extra += lateness(amount(2), us);
        }
        let punctual = fate.times[0];
        fate.times[0] += extra;
        if let Some(us) = what.duplicate {
            fate.times[1] = punctual + lateness(amount(3), us.max(10_000));
            fate.count = 2;
        }
        Fate { duplicated: what.duplicate.is_some(), reordered: what.reorder.is_some(), late: what.late.is_some(), ..fate }
    }

    /// Whether a message may pass now; if not, the fault that swallows it. Counts nothing.
    ///
    /// # Errors
    /// The id of the fault.
    #[inline]
    pub fn passes(&self, from: Endpoint, to: Endpoint, now: u64) -> Result<(), u32> {
        if self.active.is_empty() {
            return Ok(());
        }
        let (a, b) = (self.map.index(from), self.map.index(to));
        self.active.iter().find(|f| f.blocks(self.map.len(), a, b, now)).map_or(Ok(()), |f| Err(f.fault))
    }

    /// A message arrives: the same question as [`Network::passes`], and a swallowed message is counted as an effect.
    ///
    /// # Errors
    /// The id of the fault that swallowed it.
    #[inline]
    pub fn deliver(&mut self, from: Endpoint, to: Endpoint, now: u64) -> Result<(), u32> {
        if self.active.is_empty() {
            return Ok(());
        }
        let (a, b) = (self.map.index(from), self.map.index(to));
        match self.active.iter().position(|f| f.blocks(self.map.len(), a, b, now)) {
            Some(i) => Err(self.effects.took_place(&self.active[i])),
            None => Ok(()),
        }
    }

    /// Whether a fault is active.
    pub fn is_disturbed(&self) -> bool {
        !self.active.is_empty()
    }

    /// A fault begins. Endpoints that the network was not made with are ignored.
    pub fn begin(&mut self, fault: u32, net: &NetFault, now: u64) {
        self.active.push(Active::new(fault, net, now, &self.map));
    }

    /// The fault ends; nothing if it is not active.
    pub fn end(&mut self, fault: u32) {
        self.active.retain(|f| f.fault != fault);
    }

    /// From here on: no faults, no loss, no duplicates, nothing held back; only base latency and jitter remain. What is on its way
    /// stays on its way.
    pub fn heal(&mut self) {
        self.active.clear();
        self.params = NetworkParams { tail_ppm: 0, loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 0, late_ppm: 0, ..self.params };
        self.calm = true;
    }

    /// How often each kind took effect, by the kind's name: `message_lost`, `message_duplicated`, `message_reordered`, `message_late` for
    /// the base model, and the kinds of [`NetFault`]. A message that the base model had lost already counts for no fault.
    pub fn effects(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.effects.iter()
    }

    /// How often this fault took effect.
    pub fn effects_of(&self, fault: u32) -> u64 {
        self.effects.of(fault)
    }
}

impl NetworkParams {
    #[inline]
    fn is_calm(&self) -> bool {
        self.tail_ppm | self.loss_ppm | self.duplicate_ppm | self.reorder_ppm | self.late_ppm == 0
    }

    #[inline]
    fn touches(&self, tail: u64, duplicate: u64, reorder: u64, late: u64) -> bool {
        hits(tail, self.tail_ppm) | hits(duplicate, self.duplicate_ppm) | hits(reorder, self.reorder_ppm) | hits(late, self.late_ppm)
    }
}

/// What is done to a message, each with the longest time it may take.
#[derive(Clone, PartialEq)]
struct What {
    duplicate: Option<u64>,
    reorder: Option<u64>,
    late: Option<u64>,
}

/// Whether 20 uniform bits fall below a chance.
#[inline]
fn hits(bits: u64, ppm: u32) -> bool {
    (bits * 1_000_000) >> 20 < u64::from(ppm)
}

/// Log-uniform nanoseconds from a tenth of a millisecond to the longest lateness.
fn lateness(draw: Draw, us_max: u64) -> u64 {
    draw.log_range(100.min(us_max)..=us_max) * US + (draw.0 & 0x3ff)
}

#[cfg(test)]
mod tests;
