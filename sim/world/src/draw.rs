//! Random values that are hashes, not positions in a stream.
//!
//! A value is XXH3-64 over (seed, label, entity, counter), so taking one operation out of a plan re-rolls nothing else, and shrinking
//! does not fight noise. XXH3 is specified bit by bit, and the arithmetic on top uses only operations that IEEE 754 rounds exactly
//! (no `ln` of a platform's libm): a seed means the same on every machine and in every later version. A test holds golden values.
//!
//! What it is not: a source of secrets, or of independent values for equal arguments.

use std::ops::RangeInclusive;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// All random values of a run. Copy it freely: it is only the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
}

impl Draws {
    /// The values of this seed.
    pub fn new(seed: u64) -> Self {
        Draws { seed }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The values under one label, for many draws: hashing the label is done once.
    #[inline]
    pub fn stream(&self, label: &str) -> Stream {
        Stream { key: xxh3_64_with_seed(label.as_bytes(), self.seed) }
    }

    /// The `counter`-th value of `entity` under `label`.
    #[inline]
    pub fn draw(&self, label: &str, entity: u64, counter: u64) -> Draw {
        self.stream(label).draw(entity, counter)
    }

    /// The same as a bare number.
    #[inline]
    pub fn u64(&self, label: &str, entity: u64, counter: u64) -> u64 {
        self.draw(label, entity, counter).0
    }

    /// Values of one entity under one label, one after another.
    pub fn sequence(&self, label: &str, entity: u64) -> Sequence {
        self.stream(label).sequence(entity)
    }
}

/// The values of a run under one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The `counter`-th value of `entity`.
    #[inline]
    pub fn draw(&self, entity: u64, counter: u64) -> Draw {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&entity.to_le_bytes());
        bytes[8..].copy_from_slice(&counter.to_le_bytes());
        Draw(xxh3_64_with_seed(&bytes, self.key))
    }

    /// Values of one entity, one after another.
    pub fn sequence(self, entity: u64) -> Sequence {
        Sequence { stream: self, entity, counter: 0 }
    }
}

/// Counts the draws of one entity, where the code that draws is a straight line.
#[derive(Clone, Debug)]
pub struct Sequence {
    stream: Stream,
    entity: u64,
    counter: u64,
}

impl Sequence {
    /// The next value.
    #[inline]
    pub fn draw(&mut self) -> Draw {
        self.counter += 1;
        self.stream.draw(self.entity, self.counter - 1)
    }

    /// A random order of these.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.draw().below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }

    /// One of these; `None` of none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let draw = self.draw();
        if items.is_empty() { None } else { Some(&items[draw.below(items.len() as u64) as usize]) }
    }
}

/// One drawn value: 64 uniform bits, to be read in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(pub u64);

impl Draw {
    /// Uniform in [0, 1), with 53 bits.
    #[inline]
    pub fn unit(self) -> f64 {
        (self.0 >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with this probability.
    #[inline]
    pub fn chance(self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// True this often in a million.
    #[inline]
    pub fn chance_ppm(self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// Uniform in 0..n; 0 if n is 0.
    #[inline]
    pub fn below(self, n: u64) -> u64 {
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }

    /// Uniform in the range, both ends included; the start if the range is empty.
    #[inline]
    pub fn range(self, range: RangeInclusive<u64>) -> u64 {
        let (lo, hi) = range.into_inner();
        let width = u128::from(hi.saturating_sub(lo)) + 1;
        lo + ((u128::from(self.0) * width) >> 64) as u64
    }

    /// Log-uniform in the range: every factor of two is as likely as the next. A range that starts at 0 gives 0 about as often as 1.
    pub fn log_range(self, range: RangeInclusive<u64>) -> u64 {
        let (lo, hi) = range.into_inner();
        if hi <= lo {
            return lo;
        }
        // Shifted by one so that 0 has a logarithm; the interval's end is pushed out so that `hi` is as likely as its neighbours.
        let (a, b) = (lo as f64 + 1.0, hi as f64 + 2.0);
        let x = a * exp(self.unit() * ln(b / a));
        ((x as u64).saturating_sub(1)).clamp(lo, hi)
    }

    /// Exponentially distributed with this mean, at most 32 times the mean.
    pub fn exp(self, mean: u64) -> u64 {
        let u = 1.0 - self.unit(); // in (0, 1]
        ((-ln(u)).min(32.0) * mean as f64) as u64
    }
}

/// Natural logarithm of x > 0, to about nine digits, from exactly rounded operations only.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52)); // in [1, 2)
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    let atanh =
        s * (1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q / 15.0)))))));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * atanh
}

/// e to the x, for 0 ≤ x < 700, to about nine digits, from exactly rounded operations only.
fn exp(x: f64) -> f64 {
    let k = (x / std::f64::consts::LN_2) as i64;
    let r = x - k as f64 * std::f64::consts::LN_2;
    let mut sum = 1.0;
    for i in (1..=12).rev() {
        sum = 1.0 + r / i as f64 * sum;
    }
    sum * f64::from_bits(((k + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stable() {
        // Checked with another implementation of XXH3 (Python's xxhash).
        let d = Draws::new(42);
        let drawn = [d.u64("net", 0, 0), d.u64("net", 0, 1), d.u64("net", 1, 0), d.u64("disk", 0, 0)];
        assert_eq!(drawn, [9053172744990605846, 1894399237666926961, 18001969600890971705, 14323628754452446950]);
        assert_eq!(Draws::new(0).u64("", 0, 0), 15907916410078012385);
        assert_eq!(Draws::new(u64::MAX).u64("op", u64::MAX, u64::MAX), 6231530115780383404);
        let read = d.draw("net", 7, 7);
        assert_eq!((read.range(10..=1_000_000), read.log_range(1..=1_000_000_000), read.exp(1_000_000)), (695_656, 2_251_608, 1_189_586));
    }

    #[test]
    fn a_label_hashed_once_gives_the_same() {
        let d = Draws::new(7);
        let mut sequence = d.sequence("x", 3);
        assert_eq!(sequence.draw(), d.draw("x", 3, 0));
        assert_eq!(sequence.draw(), d.stream("x").draw(3, 1));
    }

    #[test]
    fn logarithm_and_exponential_are_close_to_the_real_ones() {
        for i in 1..2000 {
            let x = i as f64 * 0.37;
            assert!((ln(x) - x.ln()).abs() < 1e-7, "ln({x})");
            let y = i as f64 * 0.02;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-9, "exp({y})");
        }
    }

    #[test]
    fn distributions_have_their_shape() {
        let d = Draws::new(1);
        let n = 20_000;
        let draws = || (0..n).map(|i| d.draw("shape", 0, i));
        let mean_exp = draws().map(|x| x.exp(1000)).sum::<u64>() / n;
        assert!((950..1050).contains(&mean_exp), "{mean_exp}");
        let small = draws().filter(|x| x.log_range(1..=1_000_000) < 1000).count();
        assert!((9_000..11_000).contains(&small), "half of a log-uniform draw is below the geometric middle: {small}");
        let hits = draws().filter(|x| x.chance_ppm(100_000)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert!(draws().all(|x| (3..=5).contains(&x.range(3..=5)) && (3..=5).contains(&x.log_range(3..=5))));
        for v in 3..=5 {
            assert!(draws().any(|x| x.range(3..=5) == v) && draws().any(|x| x.log_range(3..=5) == v), "{v} is drawn");
        }
        assert_eq!(Draw(u64::MAX).range(0..=u64::MAX), u64::MAX);
    }
}
