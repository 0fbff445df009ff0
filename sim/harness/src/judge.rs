//! What is judged at the end of a run, and the report.

use check::{Budget, Judgement};
use curp::NodeId;
use plan::Plan;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::cluster::Cluster;
use crate::hosts::Hosts;
use crate::process::Process;
use crate::{Finding, RunOptions, RunReport, Verdict};

/// Steps that a search may take on one run's history before its verdict is `unknown`.
const SEARCH_STEPS: u64 = 500_000;

/// Leases with a longer time to live (seconds) are not waited for at the end of a run.
const TTL_WAITED_FOR: i64 = 5;

/// What the checks came to.
pub(crate) struct Verdicts {
    findings: Vec<Finding>,
    checks: BTreeMap<String, Verdict>,
    evaluations: BTreeMap<String, u64>,
}

/// What has not come to rest: empty once every operation and the operator's wish have ended, a leader serves, the members of the last
/// configuration agree on everything and no command is left in a spec pool of theirs. Who was removed is not waited for, and neither is
/// who must not start any more. One phrase each.
pub(crate) fn unfinished(cluster: &Cluster, hosts: &impl Hosts) -> Vec<String> {
    let mut missing = Vec::new();
    for caller in &cluster.callers {
        match (caller.up, caller.waits_for) {
            (_, Some(op)) => missing.push(format!("operation {op} of client c{} has not ended", caller.address)),
            (false, None) => missing.push(format!("client c{} has not come back", caller.address)),
            (true, None) if !caller.is_done() => missing.push(format!("client c{} has operations left", caller.address)),
            // A watch that lasts until the end keeps its client from being idle.
            (true, None) if !caller.unsynced.is_empty() || caller.watches.is_empty() && !hosts.client_is_idle(caller.address) => {
                missing.push(format!("client c{} still waits for a synced result", caller.address));
            }
            _ => {}
        }
    }
    for caller in &cluster.callers {
        if let (Some(running), None) = (&caller.recipe, caller.waits_for) {
            missing.push(format!("operation {} of client c{} has not come to its end", running.op, caller.address));
        }
    }
    let busy = cluster.processes.iter().filter(|p| p.up && cluster.members.committed.is_member(p.id) && !hosts.gateway_is_idle(p.id));
    missing.extend(busy.map(|p| format!("the gateway of node n{} still waits for a synced result", p.id)));
    missing.extend(cluster.operator.busy_with());
    let member = |p: &&Process| cluster.members.committed.is_member(p.id) && !p.gone;
    missing.extend(cluster.processes.iter().filter(member).filter(|p| !p.up).map(|p| format!("node {} is down", p.id)));
    // The open leader of the latest term, where its log ends, its revision, and a lease that should have expired.
    let mut leader: Option<(u64, u64, u64, Option<kv::LeaseId>)> = None;
    for process in cluster.processes.iter().filter(member) {
        hosts.look(process.id, &mut |node| {
            let raw = node.raw();
            if raw.is_open() && leader.is_none_or(|(term, ..)| raw.leadership().term >= term) {
                let lease = node.store().leases().iter().find(|(_, lease)| lease.ttl <= TTL_WAITED_FOR).map(|(id, _)| id);
                leader = Some((raw.leadership().term, raw.last_index(), node.store().applied_revision(), lease));
            }
        });
    }
    if let Some((_, _, revision, lease)) = leader {
        missing.extend(lease.map(|lease| format!("lease {lease} has not expired")));
        for caller in &cluster.callers {
            let late = caller.watches.iter().filter(|(_, watch)| watch.told < revision);
            missing.extend(late.map(|(op, watch)| {
                format!("watch {op} of client c{} was told everything up to revision {} of {revision} only", caller.address, watch.told)
            }));
        }
    }
    let Some((_, last_index, ..)) = leader else {
        missing.push("no leader serves".to_owned());
        return missing;
    };
    for id in cluster.processes.iter().filter(member).map(|p| p.id) {
        hosts.look(id, &mut |node| {
            let raw = node.raw();
            if raw.applied() != last_index || !raw.is_quiescent() {
                missing.push(format!("node {id} has applied {} of {last_index} entries", raw.applied()));
            }
            for held in raw.pool_ids() {
                missing.push(format!("{held} is still in the spec pool of node {id}"));
            }
        });
    }
    missing
}

/// A node at rest.
pub(crate) struct AtRest {
    node: NodeId,
    /// What it has applied.
    applied: u64,
    /// Hash of the store itself.
    hash: u64,
    /// The hash that it keeps by adding up changes.
    kept: u64,
    /// What is wrong with its store, if it is of that very index.
    store: Result<bool, String>,
}

/// The nodes at rest, of members or not.
pub(crate) fn at_rest(cluster: &Cluster, hosts: &impl Hosts) -> Vec<AtRest> {
    let mut nodes = Vec::new();
    for node in cluster.processes.iter().map(|p| p.id) {
        hosts.look(node, &mut |host| {
            let raw = host.raw();
            if raw.is_quiescent() {
                nodes.push(AtRest {
                    node,
                    applied: raw.applied(),
                    hash: host.store().full_hash(),
                    kept: raw.hash_sum(),
                    store: host.is_kept(),
                });
            }
        });
    }
    nodes
}

/// The run did not come to rest within the bound.
pub(crate) fn not_live(cluster: &Cluster, missing: Vec<String>) -> Finding {
    let bound = cluster.plan.end.bound_us() / 1_000;
    let first = missing.first().map_or("nothing happens any more", String::as_str);
    let more = if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
    Finding {
        check: "liveness".to_owned(),
        rule: "comes to rest after the heal".to_owned(),
        verdict: Verdict::Liveness,
        t: cluster.now,
        event: None,
        node: None,
        message: format!("{bound} ms after the faults ended, {first}{more}"),
        evidence: Vec::new(),
        details: missing,
    }
}

/// The system under test panicked.
pub(crate) fn panicked(cluster: &Cluster, message: &str, backtrace: Vec<String>) -> Finding {
    Finding {
        check: "assertion".to_owned(),
        rule: "invariants inside core/ hold".to_owned(),
        verdict: Verdict::Crash,
        t: cluster.now,
        event: cluster.observer.events().checked_sub(1),
        node: crate::log::node(),
        message: format!("the system under test panicked: {message}"),
        evidence: Vec::new(),
        details: backtrace,
    }
}

/// Everything that is judged once the run is over, added to what was found before.
pub(crate) fn judge(cluster: &mut Cluster, ended: Vec<Finding>, at_rest: &[AtRest], options: &RunOptions) -> Verdicts {
    let mut verdicts = Verdicts { findings: Vec::new(), checks: BTreeMap::new(), evaluations: BTreeMap::new() };
    let ended_well = ended.is_empty();
    if options.judge {
        let log = online(cluster, &mut verdicts);
        // A run that was cut short has no final log: what was answered fast may not be in what is committed so far.
        linearizable(cluster, ended_well.then_some(&log[..]), options, &mut verdicts);
    }
    verdicts.judged("liveness", 1);
    verdicts.judged("assertion", cluster.observer.events());
    verdicts.findings.extend(ended);
    started(cluster, &mut verdicts);
    if ended_well {
        hashes(cluster, at_rest, &mut verdicts);
        vacuous(cluster, &mut verdicts);
    }
    // The worst decides, and among the worst the first in time.
    verdicts.findings.sort_by_key(|f| f.t);
    for finding in &verdicts.findings {
        let verdict = verdicts.checks.entry(finding.check.clone()).or_insert(finding.verdict);
        if finding.verdict.severity() > verdict.severity() {
            *verdict = finding.verdict;
        }
    }
    verdicts
}

impl Verdicts {
    /// A check judged something, so many times; it passes unless a finding says otherwise.
    fn judged(&mut self, check: &str, times: u64) {
        self.checks.entry(check.to_owned()).or_insert(Verdict::Pass);
        *self.evaluations.entry(check.to_owned()).or_default() += times;
    }
}

/// What the online checks found; the final applied log they followed.
fn online(cluster: &mut Cluster, verdicts: &mut Verdicts) -> Vec<history::AppliedCommand> {
    let now = cluster.now;
    let Some(monitor) = cluster.observer.monitor() else { return Vec::new() };
    monitor.finish_at(now);
    for (check, times) in monitor.evaluations() {
        verdicts.judged(check, times);
    }
    verdicts.findings.extend(monitor.violations().iter().map(|violation| Finding {
        check: violation.check.to_owned(),
        rule: violation.rule.to_owned(),
        verdict: Verdict::Violation,
        t: violation.t,
        event: Some(violation.event),
        node: violation.node,
        message: violation.message.clone(),
        evidence: violation.evidence.clone(),
        details: Vec::new(),
    }));
    verdicts.findings.extend(monitor.undecided().iter().map(|(check, why)| Finding {
        check: (*check).to_owned(),
        rule: "decided within the budget".to_owned(),
        verdict: Verdict::Unknown,
        t: now,
        event: None,
        node: None,
        message: why.clone(),
        evidence: Vec::new(),
        details: Vec::new(),
    }));
    monitor.applied_log()
}

/// The history against the final log, and on some runs every level alone; without a final log, the search.
fn linearizable(cluster: &Cluster, log: Option<&[history::AppliedCommand]>, options: &RunOptions, verdicts: &mut Verdicts) {
    let history = cluster.history.operations();
    let budget = Budget { steps: SEARCH_STEPS, ..Budget::default() };
    let (judgement, disagreement) = match log.filter(|_| options.each_level_alone) {
        Some(log) => match check::cross_check(history, log, budget) {
            Ok(cross) => (Ok(cross.judgement), cross.disagreement),
            Err(error) => (Err(error), None),
        },
        None => (check::judge(history, log, check::Level::All, budget), None),
    };
    verdicts.judged("linearizability", history.len() as u64);
    let mut find = |rule: &str, verdict, t: u64, message, details| {
        verdicts.findings.push(Finding {
            check: "linearizability".to_owned(),
            rule: rule.to_owned(),
            verdict,
            t,
            event: None,
            node: None,
            message,
            evidence: Vec::new(),
            details,
        });
    };
    if let Some(disagreement) = disagreement {
        find("the levels agree", Verdict::Violation, cluster.now, disagreement, Vec::new());
    }
    match judgement {
        Err(error) => find("the history is well-formed", Verdict::Violation, cluster.now, error.to_string(), Vec::new()),
        Ok(judgement) => match judgement.verdict {
            check::Verdict::Ok => {}
            check::Verdict::Unknown => find("decided within the budget", Verdict::Unknown, cluster.now, judgement.message, Vec::new()),
            check::Verdict::Illegal => {
                let details = explanation(&judgement, history);
                let t = contradicted(&judgement, history).unwrap_or(cluster.now);
                find(rule(&judgement), Verdict::Violation, t, judgement.message, details);
            }
        },
    }
}

/// When the contradiction was complete: the last answer among the operations that contradict each other. What went wrong, went wrong
/// before that, not at the end of the run.
fn contradicted(judgement: &Judgement, history: &[history::Operation]) -> Option<u64> {
    let core = judgement.explanation.as_ref().map_or(&judgement.operations, |why| &why.operations);
    history.iter().filter(|op| core.contains(&op.id)).filter_map(history::Operation::first_response_at).max()
}

fn rule(judgement: &Judgement) -> &'static str {
    match judgement.finding {
        Some(check::Finding::Revisions) => "revisions",
        Some(check::Finding::Log) => "the log explains the history",
        Some(check::Finding::Prefix) => "serializable reads see a prefix",
        Some(check::Finding::History) | None => "values",
    }
}

fn explanation(judgement: &Judgement, history: &[history::Operation]) -> Vec<String> {
    let mut lines: Vec<String> = match &judgement.explanation {
        Some(explanation) => explanation.to_string().lines().skip(1).map(|line| line.trim().to_owned()).collect(),
        None => Vec::new(),
    };
    if lines.is_empty() {
        let named = history.iter().filter(|op| judgement.operations.contains(&op.id));
        lines.extend(named.map(|op| {
            let answer = op.fast.as_ref().or(op.synced.as_ref().map(|s| &s.response));
            format!("operation {} of client c{}: {}", op.id, op.client, check::words::operation(&op.op, answer))
        }));
    }
    lines
}

/// Every node started from its own disk: no plan damages what was synced.
fn started(cluster: &Cluster, verdicts: &mut Verdicts) {
    for (node, t, why) in &cluster.refusals {
        verdicts.findings.push(Finding {
            check: "durability".to_owned(),
            rule: "a node starts from its own disk".to_owned(),
            verdict: Verdict::Violation,
            t: *t,
            event: None,
            node: Some(*node),
            message: format!("node {node} cannot start from what it wrote: {why}"),
            evidence: Vec::new(),
            details: Vec::new(),
        });
    }
}

/// The hash of the state, which nodes keep by adding up changes, is that of the state itself; and nodes that have applied as much, be it
/// from the log or from a snapshot, hold the same.
fn hashes(cluster: &Cluster, at_rest: &[AtRest], verdicts: &mut Verdicts) {
    let mut find = |node: NodeId, rule: &str, message: String| {
        verdicts.findings.push(Finding {
            check: "state-agreement".to_owned(),
            rule: rule.to_owned(),
            verdict: Verdict::Violation,
            t: cluster.now,
            event: None,
            node: Some(node),
            message,
            evidence: Vec::new(),
            details: Vec::new(),
        });
    };
    let mut by_applied: BTreeMap<u64, &AtRest> = BTreeMap::new();
    for this in at_rest {
        let AtRest { node, applied, .. } = *this;
        if this.hash != this.kept {
            find(node, "the hash is that of the state", format!("node {node} holds other pairs than the changes it applied add up to"));
        }
        if let Err(why) = &this.store {
            find(node, "a store holds the state", format!("node {node}'s store says that it reflects entry {applied}, but {why}"));
        }
        let other = *by_applied.entry(applied).or_insert(this);
        if other.hash != this.hash {
            let message = format!("nodes {} and {node} have both applied {applied} entries and hold different pairs", other.node);
            find(node, "equal at equal applied index", message);
        }
    }
    verdicts.judged("state-agreement", at_rest.len() as u64);
}

/// A green run that never took the path its scenario is about is not green.
fn vacuous(cluster: &Cluster, verdicts: &mut Verdicts) {
    let probes = cluster.observer.probes();
    for name in cluster.plan.required_probes.iter().filter(|name| probes.get(*name).is_none_or(|count| *count == 0)) {
        verdicts.findings.push(Finding {
            check: "probes".to_owned(),
            rule: "required probes fire".to_owned(),
            verdict: Verdict::Vacuous,
            t: cluster.now,
            event: None,
            node: None,
            message: format!("the scenario `{}` is about `{name}`, which never happened", cluster.plan.scenario),
            evidence: Vec::new(),
            details: Vec::new(),
        });
    }
}

/// The report.
pub(crate) fn report(cluster: &Cluster, plan: &Plan, options: &RunOptions, verdicts: Verdicts, began: Instant) -> RunReport {
    let operations = cluster.history.operations();
    let answered_fast = |op: &&history::Operation| op.ret.is_some() && op.fast_at == op.ret;
    let answered_slow = |op: &&history::Operation| op.ret.is_some() && op.fast.is_none() && !op.is_read();
    let unknown = |op: &&history::Operation| op.outcome == history::Outcome::Unknown;
    let worst = verdicts.findings.iter().map(|f| f.verdict).max_by_key(|v| v.severity());
    RunReport {
        scenario: plan.scenario.clone(),
        engine: options.engine.name().to_owned(),
        seed: plan.seed,
        mutant: options.mutant.map(|m| m.name().to_owned()),
        verdict: worst.unwrap_or(Verdict::Pass),
        findings: verdicts.findings,
        checks: verdicts.checks,
        evaluations: verdicts.evaluations,
        probes: cluster.observer.probes(),
        under_faults: cluster.observer.under_faults(),
        faults: faults(cluster),
        ops: operations.len() as u64,
        fast: operations.iter().filter(answered_fast).count() as u64,
        slow: operations.iter().filter(answered_slow).count() as u64,
        unknown: operations.iter().filter(unknown).count() as u64,
        events: cluster.observer.events(),
        sim_ns: cluster.now,
        wall_ns: began.elapsed().as_nanos() as u64,
        trace_hash: format!("{:016x}", cluster.observer.hash()),
    }
}

/// Effects of faults, by kind.
fn faults(cluster: &Cluster) -> BTreeMap<String, u64> {
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |kind: &str, times: u64| {
        if times > 0 {
            *faults.entry(kind.to_owned()).or_default() += times;
        }
    };
    cluster.effects.iter().for_each(|(kind, times)| add(kind, *times));
    cluster.network.effects().for_each(|(kind, times)| add(kind, times));
    for process in &cluster.processes {
        let disk = process.disk.effects();
        add("slow_disk", disk.slowed);
        add("sync_error", disk.sync_errors);
        add("slow_cpu", process.cpu.slowed());
        add("unsynced_bytes_lost", disk.lost_bytes);
        add("torn_write", disk.torn);
        add("hole", disk.holes);
    }
    faults
}
