//! How far a batch is: a bar with rate, failures and time left on a terminal; a line now and then in a pipe.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::term::{duration, err, plural, thousands};

/// Between two lines in a pipe.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// So many runs.
    Runs(u64),
    /// So much wall-clock time.
    Time(Duration),
}

/// Progress of a batch, on stderr.
pub struct Progress {
    bar: Option<ProgressBar>,
    length: Length,
    begun: Instant,
    last_line: Instant,
}

impl Progress {
    /// Begins to show.
    pub fn begin(length: Length) -> Progress {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let (total, left) = match length {
                Length::Runs(runs) => (runs, "{pos}/{len}"),
                Length::Time(time) => (time.as_millis() as u64, "{percent} %"),
            };
            let bar = ProgressBar::new(total);
            let template = format!("{{bar:30}} {left} {{msg}} {{elapsed}} gone, {{eta}} left");
            bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar, length, begun: now, last_line: now }
    }

    /// Shows how far it is: `done` counts towards the length, `runs` includes replays.
    pub fn show(&mut self, done: u64, runs: u64, failed: u64) {
        let elapsed = self.begun.elapsed();
        let rate = runs as f64 / elapsed.as_secs_f64().max(1e-3);
        if let Some(bar) = &self.bar {
            bar.set_position(match self.length {
                Length::Runs(total) => done.min(total),
                Length::Time(time) => elapsed.min(time).as_millis() as u64,
            });
            let runs = plural(runs, "run", "runs");
            bar.set_message(format!("· {runs}, {rate:.0}/s · {} failed ·", thousands(failed)));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let left_ns = match self.length {
                Length::Time(time) => time.saturating_sub(elapsed).as_nanos() as f64,
                Length::Runs(total) => total.saturating_sub(done) as f64 / (done as f64 / elapsed.as_nanos().max(1) as f64).max(1e-12),
            };
            let left = if done == 0 { String::new() } else { format!(", about {} left", duration(left_ns as u64)) };
            err(&format!("{}: {rate:.0}/s, {} failed{left}", plural(runs, "run", "runs"), thousands(failed)));
        }
    }

    /// Prints in between, without tearing the bar.
    pub fn around(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
