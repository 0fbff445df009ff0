//! Zones of one key against a checker that tries every order.

use super::{Touch, Zones, zones};
use crate::model::NEVER;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// Whether some order explains what is said of the key, when it holds `held` and these are left (a bit for each).
fn explains(touches: &[Touch<u64>], left: u32, held: Option<u64>) -> bool {
    let open = (0..touches.len()).filter(|i| left >> i & 1 == 1);
    let Some(first_end) = open.clone().map(|i| touches[i].end).min().filter(|end| *end != NEVER) else { return true };
    open.filter(|&i| touches[i].invoke <= first_end).any(|i| {
        let (touch, rest) = (&touches[i], left & !(1 << i));
        touch.reads.is_none_or(|found| found == held)
            && (explains(touches, rest, touch.writes.unwrap_or(held)) || (touch.may_delete && explains(touches, rest, None)))
    })
}

/// What a handful of operations say of a key, mostly the truth. `unique`: each writes another value.
fn random(rng: &mut Rng, unique: bool, deletes: bool) -> Vec<Touch<u64>> {
    let (count, mut held) = (2 + rng.below(6), None);
    let touch = |op: u64| {
        let at = 10 * (op + 1);
        let spread = [3, 15, 40, 80][rng.below(4) as usize];
        let (invoke, end) = (at.saturating_sub(rng.below(spread)), at + rng.below(spread));
        let value = if unique { op } else { rng.below(3) };
        let mut touch = Touch { op: op as usize, invoke, end, reads: None, writes: None, may_delete: false, says_more: false };
        match rng.below(if deletes { 9 } else { 6 }) {
            0 | 1 => touch.reads = Some(held),
            2 => touch.writes = Some(Some(value)),
            // Every other one creates the key.
            3 if held.is_some() => touch.writes = Some(Some(value)),
            3..6 => (touch.reads, touch.writes) = (Some(held), Some(Some(value))),
            6 => touch.writes = Some(None),
            7 => (touch.reads, touch.writes) = (Some(held), Some(None).filter(|_| held.is_some())),
            _ => touch.may_delete = true,
        }
        let fate = rng.below(20);
        if fate > 0 {
            held = if touch.may_delete && rng.below(2) == 0 { None } else { touch.writes.unwrap_or(held) };
        }
        if fate < 3 || touch.may_delete {
            touch.end = NEVER;
        }
        if touch.reads.is_some() && rng.below(12) == 0 {
            touch.reads = Some(Some(rng.below(count)).filter(|_| rng.below(3) > 0));
        }
        if touch.reads == Some(None) && touch.writes == Some(None) {
            touch.writes = None;
        }
        touch
    };
    (0..count).map(touch).collect()
}

#[test]
fn no_order_contradicts_zones() {
    let mut rng = Rng(3);
    let (mut decided, mut refuted, mut illegal) = (0, 0, 0);
    let cases = 200_000;
    for _ in 0..cases {
        let (unique, deletes) = (rng.below(3) > 0, rng.below(3) > 0);
        let touches = random(&mut rng, unique, deletes);
        let legal = explains(&touches, (1 << touches.len()) - 1, None);
        let found = zones(&touches);
        match &found {
            Zones::Linearizable => assert!(legal, "{touches:#?}"),
            Zones::Illegal(why) => assert!(!legal, "{touches:#?}\n{why:#?}"),
            Zones::Undecided => assert!(!unique || deletes, "{touches:#?}"),
        }
        decided += u32::from(found != Zones::Undecided);
        refuted += u32::from(matches!(found, Zones::Illegal(_)));
        illegal += u32::from(!legal);
    }
    println!("of {cases}: zones decide {decided}, and refute {refuted} of the {illegal} that no order explains");
    assert!(decided > cases / 2 && refuted > illegal / 2 && illegal > cases / 10);
}

/// A slow read that found the key absent may have done so before it was created, though it was deleted once more before the answer came.
#[test]
fn a_slow_absence_may_be_the_first_one() {
    let touch = |op, invoke, end, reads, writes| Touch { op, invoke, end, reads, writes, may_delete: false, says_more: false };
    let touches = [
        touch(0, 5, 40, Some(None), None),
        touch(1, 10, 20, Some(None), Some(Some(7))),
        touch(2, 30, 80, None, Some(None)),
        touch(3, 50, 60, Some(Some(7)), None),
    ];
    assert!(explains(&touches, 0b1111, None));
    assert_eq!(zones(&touches), Zones::Undecided);
    // Not if it began only after the key had been created.
    let mut late = touches.clone();
    late[0].invoke = 25;
    assert!(!explains(&late, 0b1111, None));
    assert!(matches!(zones(&late), Zones::Illegal(_)));
}
