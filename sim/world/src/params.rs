//! What is fixed for a run: the numbers behind the models. A plan holds them as they are.
//!
//! Chances are in parts per million and times in microseconds, as integers: a plan's text gives back exactly these values.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The network while no fault is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkParams {
    /// Each link, one way, has a base latency drawn log-uniformly from here …
    pub latency_us_min: u64,
    /// … to here.
    pub latency_us_max: u64,
    /// Each message takes up to this much more, uniformly; what exceeds the gap between two messages reorders them.
    #[serde(default)]
    pub jitter_us_max: u64,
    /// Chance of a heavy tail: the message takes up to `tail_us_max` more.
    #[serde(default)]
    pub tail_ppm: u32,
    /// See `tail_ppm`.
    #[serde(default)]
    pub tail_us_max: u64,
    /// Chance that a message is lost.
    #[serde(default)]
    pub loss_ppm: u32,
    /// Chance that a message arrives twice.
    #[serde(default)]
    pub duplicate_ppm: u32,
    /// Chance that a message is held back until later ones have overtaken it, for up to `reorder_us_max`.
    #[serde(default)]
    pub reorder_ppm: u32,
    /// See `reorder_ppm`.
    #[serde(default)]
    pub reorder_us_max: u64,
    /// Chance that a message is very late, by up to `late_us_max`, log-uniformly: across elections and restarts.
    #[serde(default)]
    pub late_ppm: u32,
    /// See `late_ppm`.
    #[serde(default)]
    pub late_us_max: u64,
}

impl Default for NetworkParams {
    fn default() -> Self {
        NetworkParams {
            latency_us_min: 200,
            latency_us_max: 2_000,
            jitter_us_max: 200,
            tail_ppm: 0,
            tail_us_max: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_us_max: 0,
            late_ppm: 0,
            late_us_max: 0,
        }
    }
}

/// The disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskParams {
    /// A batch that writes takes at least this long …
    pub write_us_min: u64,
    /// … and at most this; small values are likelier.
    pub write_us_max: u64,
    /// Each sync in a batch, of a file or the directory, takes at least this long …
    pub sync_us_min: u64,
    /// … and at most this; small values are likelier.
    pub sync_us_max: u64,
    /// Chance that a batch takes up to `tail_us_max` more.
    #[serde(default)]
    pub tail_ppm: u32,
    /// See `tail_ppm`.
    #[serde(default)]
    pub tail_us_max: u64,
}

impl Default for DiskParams {
    fn default() -> Self {
        DiskParams { write_us_min: 5, write_us_max: 50, sync_us_min: 200, sync_us_max: 2_000, tail_ppm: 0, tail_us_max: 0 }
    }
}

/// One node's clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockParams {
    /// How much faster than real time the monotonic clock runs; negative is slower. Above −1,000,000.
    #[serde(default)]
    pub rate_ppm: i32,
    /// How far the wall clock is ahead when the run begins.
    #[serde(default)]
    pub wall_offset_us: i64,
}

/// How long a node takes to execute a command: the delay from "ready to execute" to `ExecDone`, drawn per command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionParams {
    /// At least this …
    pub delay_us_min: u64,
    /// … at most this, log-uniformly. A wide range makes commuting commands finish out of order.
    pub delay_us_max: u64,
}

impl Default for ExecutionParams {
    fn default() -> Self {
        ExecutionParams { delay_us_min: 1, delay_us_max: 200 }
    }
}

/// A parameter makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError(String);

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParamError {}

/// No delay is longer than an hour: sums of them stay far from overflow.
const DELAY_US_MAX: u64 = 3_600_000_000;

fn ordered(name: &str, min: u64, max: u64) -> Result<(), ParamError> {
    short(&format!("{name}_max"), max)?;
    if min <= max { Ok(()) } else { Err(ParamError(format!("{name}_min is {min}, above {name}_max, which is {max}; it must not be"))) }
}

fn short(name: &str, us: u64) -> Result<(), ParamError> {
    if us <= DELAY_US_MAX { Ok(()) } else { Err(ParamError(format!("{name} is {us}; it can be at most {DELAY_US_MAX} (an hour)"))) }
}

fn chance(name: &str, ppm: u32) -> Result<(), ParamError> {
    if ppm <= 1_000_000 { Ok(()) } else { Err(ParamError(format!("{name} is {ppm}; parts per million are from 0 to 1000000"))) }
}

impl NetworkParams {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// The first that does not, in a sentence.
    pub fn validate(&self) -> Result<(), ParamError> {
        ordered("latency_us", self.latency_us_min, self.latency_us_max)?;
        short("jitter_us_max", self.jitter_us_max)?;
        short("tail_us_max", self.tail_us_max)?;
        short("reorder_us_max", self.reorder_us_max)?;
        short("late_us_max", self.late_us_max)?;
        chance("tail_ppm", self.tail_ppm)?;
        chance("loss_ppm", self.loss_ppm)?;
        chance("duplicate_ppm", self.duplicate_ppm)?;
        chance("reorder_ppm", self.reorder_ppm)?;
        chance("late_ppm", self.late_ppm)
    }
}

impl DiskParams {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// The first that does not, in a sentence.
    pub fn validate(&self) -> Result<(), ParamError> {
        ordered("write_us", self.write_us_min, self.write_us_max)?;
        ordered("sync_us", self.sync_us_min, self.sync_us_max)?;
        short("tail_us_max", self.tail_us_max)?;
        chance("tail_ppm", self.tail_ppm)
    }
}

impl ClockParams {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// The first that does not, in a sentence.
    pub fn validate(&self) -> Result<(), ParamError> {
        if (-900_000..=9_000_000).contains(&self.rate_ppm) {
            Ok(())
        } else {
            Err(ParamError(format!("rate_ppm is {}; a clock's rate is from -900000 to 9000000", self.rate_ppm)))
        }
    }
}

impl ExecutionParams {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// The first that does not, in a sentence.
    pub fn validate(&self) -> Result<(), ParamError> {
        ordered("delay_us", self.delay_us_min, self.delay_us_max)
    }
}
