//! WHAT: a seed, a finding's id (or its directory), `latest`, or a plan file; and how to write it down again as a command.

use harness::Engine;
use mutants::Mutant;
use plan::Plan;
use std::path::{Path, PathBuf};

use crate::error::usage;
use crate::findings::{RunFile, Store};
use crate::scenarios;
use crate::seed::{looks_like_seed, parse_seed};
use crate::worker::Work;

/// Where a run comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A seed and the scenario it was drawn for.
    Seed,
    /// A finding on disk.
    Finding {
        /// What to call it on a command line: its id, or its directory if that is not in `findings/`.
        name: String,
        /// Its directory.
        dir: PathBuf,
        /// Whether its plan is what the scenario draws from its seed, today too.
        drawn: bool,
        /// The trace hash it was recorded with.
        trace_hash: String,
        /// The commit it was recorded at.
        commit: Option<String>,
    },
    /// A plan file.
    Plan(PathBuf),
}

impl Origin {
    /// Whether the plan is exactly what the scenario draws from the seed.
    pub fn is_drawn(&self) -> bool {
        match self {
            Origin::Seed => true,
            Origin::Finding { drawn, .. } => *drawn,
            Origin::Plan(_) => false,
        }
    }

    /// The words after `cargo sim repro` or `cargo sim shrink` that name this run, for a shell.
    pub fn arguments(&self, scenario: &str, seed: u64, mutant: Option<&str>, engine: &str) -> String {
        let on = if engine == Engine::Direct.name() { String::new() } else { format!(" --engine {engine}") };
        let planted = mutant.map(|m| format!(" --mutant {m}")).unwrap_or_default() + &on;
        match self {
            Origin::Seed => format!("{seed} --scenario {scenario}{planted}"),
            Origin::Finding { drawn: true, .. } => format!("{seed} --scenario {scenario}{planted}"),
            // A finding brings its mutant and its engine along.
            Origin::Finding { name, .. } => shell(name),
            Origin::Plan(path) => format!("{}{planted}", shell(&path.display().to_string())),
        }
    }
}

/// Something that can be run again.
#[derive(Clone, Debug)]
pub struct Target {
    /// What to give a worker.
    pub work: Work,
    /// The plan it comes to.
    pub plan: Plan,
    /// What drives nodes and clients.
    pub engine: Engine,
    /// The bug to plant.
    pub mutant: Option<Mutant>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Target {
    /// Finds out what WHAT means. `mutant` and `engine` override those that a finding was made with.
    ///
    /// # Errors
    /// A usage error: it names nothing, or something that does not parse.
    pub fn resolve(
        what: &str,
        scenario: Option<&str>,
        mutant: Option<&str>,
        engine: Option<Engine>,
        store: &Store,
    ) -> anyhow::Result<Target> {
        let mutant = mutant.map(scenarios::mutant).transpose()?;
        if let Some(name) = scenario {
            scenarios::by_name(name)?;
        }
        if looks_like_seed(what) {
            let seed = parse_seed(what).map_err(usage)?;
            let scenario = scenario.unwrap_or_else(|| &scenarios::drawn_from_all(seed).name).to_owned();
            let work = Work::Seed { scenario, seed };
            return Ok(Target { plan: work.plan()?, work, engine: engine.unwrap_or_default(), mutant, origin: Origin::Seed });
        }
        if scenario.is_some() {
            return Err(usage(format!("--scenario goes with a seed; `{what}` is a finding or a plan, which names its own")));
        }
        if what == "latest" {
            let none = || usage("there is no finding yet, so no `latest`; accepted: a seed, a finding's id, or a plan file");
            return finding(&store.latest().ok_or_else(none)?, store, mutant, engine);
        }
        let path = Path::new(what);
        if path.is_dir() {
            return from_directory(path, what, mutant, engine);
        }
        if path.is_file() {
            return from_plan(path, mutant, engine);
        }
        if !what.contains('/') && store.path(what).join("run.json").is_file() {
            return finding(what, store, mutant, engine);
        }
        let known = store.list()?;
        let listed: Vec<&str> = known.iter().map(|(id, _)| id.as_str()).take(5).collect();
        let findings = match known.len() {
            0 => "there is none".to_owned(),
            1..=5 => listed.join(", "),
            n => format!("{} and {} more", listed.join(", "), n - 5),
        };
        Err(usage(format!(
            "`{what}` is neither a seed nor a finding nor a file; accepted: a seed ({}), a finding's id ({findings}), `latest`, or a plan file",
            crate::seed::FORMS
        )))
    }
}

fn finding(id: &str, store: &Store, mutant: Option<Mutant>, engine: Option<Engine>) -> anyhow::Result<Target> {
    from_directory(&store.path(id), &store.name(id), mutant, engine)
}

fn from_directory(dir: &Path, name: &str, mutant: Option<Mutant>, engine: Option<Engine>) -> anyhow::Result<Target> {
    let run = RunFile::read(dir)?;
    let (plan, work) = read_plan(&dir.join("plan.toml"))?;
    let own = run.mutant.as_deref().map(scenarios::mutant).transpose()?;
    // Scenarios change: the seed names this run only as long as it still draws the same plan.
    let drawn = run.drawn && scenarios::by_name(&plan.scenario).is_ok_and(|s| s.draw(plan.seed).to_toml() == plan.to_toml());
    let origin = Origin::Finding { name: name.to_owned(), dir: dir.to_owned(), drawn, trace_hash: run.trace_hash, commit: run.commit };
    let engine = engine.unwrap_or(if run.engine == Engine::Madsim.name() { Engine::Madsim } else { Engine::Direct });
    Ok(Target { plan, work, engine, mutant: mutant.or(own), origin })
}

fn from_plan(path: &Path, mutant: Option<Mutant>, engine: Option<Engine>) -> anyhow::Result<Target> {
    let (plan, work) = read_plan(path)?;
    Ok(Target { plan, work, engine: engine.unwrap_or_default(), mutant, origin: Origin::Plan(path.to_owned()) })
}

fn read_plan(path: &Path) -> anyhow::Result<(Plan, Work)> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| usage(format!("{file}: cannot be read: {e}; accepted: a plan in TOML")))?;
    let plan = scenarios::parse_plan(&file, &text)?;
    Ok((plan, Work::Plan { file, text }))
}

/// `scenarios/regression/*.toml`, by name: plans that failed once and must pass for ever.
///
/// # Errors
/// A usage error if one does not parse.
pub fn regressions() -> anyhow::Result<Vec<Target>> {
    let dir = crate::findings::root().join("scenarios").join("regression");
    let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    paths.iter().map(|path| from_plan(path, None, None)).collect()
}

/// Findings that have not been seen to pass since, under the same mutant as this batch; and a sentence for each that cannot be read.
///
/// # Errors
/// The directory cannot be read.
#[allow(clippy::type_complexity, reason = "two lists")]
pub fn open_findings(store: &Store, mutant: Option<Mutant>) -> anyhow::Result<(Vec<(String, Target)>, Vec<String>)> {
    let (mut open, mut unreadable) = (Vec::new(), Vec::new());
    for (id, run) in store.list()? {
        if !store.is_closed(&id) && run.mutant.as_deref() == mutant.map(Mutant::name) {
            match finding(&id, store, mutant, None) {
                Ok(target) => open.push((id, target)),
                Err(error) => unreadable.push(format!("{error:#}")),
            }
        }
    }
    Ok((open, unreadable))
}

/// Quotes a word for a shell, if it needs it.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(Origin::Seed.arguments("standard", 7, Some("x"), "direct"), "7 --scenario standard --mutant x");
        assert_eq!(Origin::Seed.arguments("standard", 7, None, "madsim"), "7 --scenario standard --engine madsim");
        assert_eq!(Origin::Plan("my plans/a.toml".into()).arguments("standard", 7, None, "direct"), "'my plans/a.toml'");
        assert_eq!(shell("it's"), r"'it'\''s'");
    }
}
