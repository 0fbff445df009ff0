//! The command line of the simulation test harness: `cargo sim …`. What each command does is in the module of its name; the words, files and exit
//! statuses are a contract, described in CLI.md and by `--help`.
//!
//! | module | what it is |
//! | --- | --- |
//! | `fuzz`, `repro`, `shrink`, `check`, `conform`, `planted` (mutants), `determinism`, `list`, `bench`, `doctor` | the commands |
//! | `worker`, `lane`, `batch`, `confirm` | how runs are made: worker processes, their parent's side, many at once, a second look at failures |
//! | `target`, `findings`, `scenarios`, `seed`, `shard` | what is run: WHAT, failures on disk, names, seeds, parts of a batch |
//! | `render`, `context`, `events`, `checks`, `summary`, `progress`, `term` | what people see |
//! | `json`, `junit`, `status`, `error` | what programs see |
//! | `tally`, `mix`, `ddmin` | the arithmetic |
//!
//! It makes no judgement of its own: whether a run is right is decided in `harness` and `check`.

mod args;
mod batch;
mod bench;
mod check;
mod checks;
mod confirm;
mod conform;
mod context;
mod ddmin;
mod determinism;
mod doctor;
mod error;
mod events;
mod findings;
mod fuzz;
mod json;
mod junit;
mod lane;
mod list;
mod mix;
mod planted;
mod progress;
mod render;
mod repro;
#[cfg(test)]
mod samples;
mod scenarios;
mod seed;
mod shard;
mod shrink;
mod status;
mod summary;
mod tally;
mod target;
mod term;
mod worker;

use clap::Parser;

use args::{Cli, Command};
use error::{EXIT_HARNESS, EXIT_USAGE, usage};

fn main() {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        // Asked-for help is no mistake; everything else is the caller's.
        std::process::exit(if error.use_stderr() { EXIT_USAGE } else { 0 })
    });
    // A panic of the command line itself is a failure of the harness, not 101.
    let outcome = std::panic::catch_unwind(|| run(&cli.command));
    std::process::exit(match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            term::err(&format!("sim: {error:#}"));
            error::exit_code(&error)
        }
        Err(_) => EXIT_HARNESS,
    })
}

fn run(command: &Command) -> anyhow::Result<i32> {
    match command {
        Command::Fuzz(args) => fuzz::fuzz(args),
        Command::Repro(args) => repro::repro(args),
        Command::Shrink(args) => shrink::shrink(args),
        Command::Check(args) => check::check(args),
        Command::Mutants(args) => planted::mutants(args),
        Command::Determinism(args) => determinism::determinism(args),
        Command::List(args) => list::list(args.what),
        Command::Bench(args) => bench::bench(args),
        Command::Doctor => doctor::doctor(),
        Command::Worker => worker::serve(),
        Command::Conform(args) => conform::conform(args),
        Command::Explore(_) => Err(usage("explore is not built yet: nothing replays behaviours of the specification so far")),
        Command::Report(_) => Err(usage("report is not built yet; `cargo sim repro WHAT` shows a run on the terminal")),
    }
}
