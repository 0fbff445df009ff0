//! The one mixing function of core/: spreads an input (a node's entropy, a counter) over 64 bits. It makes nothing up.

/// SplitMix64's finalizer (Steele, Lea, Flood 2014), a bijection.
pub fn splitmix64(mut z: u64) -> u64 {
    z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
