//! Runs leave no memory behind: a batch lasts as long as its user likes.
//!
//! Counted is what the program holds of the heap, not what the system says of the process: what an allocator keeps for itself, and what
//! another test does meanwhile, are none of a run's. Hence a program of its own, with one test.

use harness::{Engine, RunOptions, run};
use plan::{Plan, scenario};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Bytes of the heap in use.
fn held() -> usize {
    dhat::HeapStats::get().curr_bytes
}

#[test]
fn runs_leave_no_memory_behind() {
    let _counting = dhat::Profiler::builder().testing().build();
    let scenario = scenario("sessions").expect("the scenario exists");
    let plans: Vec<Plan> = (1..=8).map(|seed| scenario.draw(seed)).collect();
    for engine in [Engine::Direct, Engine::Madsim] {
        let a_round = || {
            for plan in &plans {
                run(plan, &RunOptions { engine, judge: false, ..RunOptions::default() });
            }
        };
        // What a program makes once is there after the first round.
        a_round();
        let before = held();
        let rounds = 2;
        (0..rounds).for_each(|_| a_round());
        let each = held().saturating_sub(before) / (rounds * plans.len());
        // It was none at all when this was written; one blocked task kept would be 26 KB and more.
        assert!(each < 500, "{each} bytes stay of each run on {engine:?}");
    }
}
