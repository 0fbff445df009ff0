//! The format: what is written is read back, and what is wrong gets a sentence.

use plan::{Plan, PlanError, Simplification, Unit, scenario};
use proptest::prelude::*;

/// The plan in the README.
fn example() -> String {
    let readme = include_str!("../README.md");
    let start = readme.find("```toml\n").expect("the README has an example") + "```toml\n".len();
    readme[start..].split("```").next().expect("split gives at least one part").to_owned()
}

#[test]
fn the_readme_s_second_plan_is_one_too() {
    let readme = include_str!("../README.md");
    let text = readme.split("```toml\n").nth(2).and_then(|rest| rest.split("```").next()).expect("the README has two examples");
    let plan = Plan::parse(text, "README.md").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.drift_ppm(), 20_000);
    assert_eq!(Plan::parse(&plan.to_toml(), "written").as_ref(), Ok(&plan));
}

#[test]
fn the_example_in_the_readme_is_a_plan() {
    let plan = Plan::parse(&example(), "README.md").expect("the README is right");
    assert_eq!((plan.op.len(), plan.fault.len(), plan.seed), (3, 4, 42));
    assert_eq!(plan.fault[1].kind.to_string(), "leader loses power, back after 20 ms");
    assert_eq!(plan.fault[2].kind.to_string(), "n4 joins and is promoted");
    assert_eq!(plan.fault[3].kind.to_string(), "leader is removed, and stops 100 ms later");
    assert_eq!(Plan::parse(&plan.to_toml(), "again"), Ok(plan));
}

#[test]
fn what_an_operator_does_round_trips() {
    let kinds = [
        "add_member = { node = 4, promote = false }",
        "remove_member = { node = \"newest\" }",
        "lose_disk = { node = \"n2\", down_us = 5, replace = 5 }",
        "lose_disk = { node = \"follower2\", down_us = 5 }",
        "update_member = { node = \"n4\" }",
        "move_leader = { to = \"follower1\" }",
        "take_snapshot = { node = \"leader\" }",
        "shutdown = { down_us = 7 }",
    ];
    let mut text = example();
    text.truncate(text.find("[[fault]]").expect("it has faults"));
    for (id, kind) in (1..).zip(kinds) {
        text.push_str(&format!("[[fault]]\nid = {id}\nwhen.at_us = 9\nkind.{kind}\n"));
    }
    let plan = Plan::parse(&text, "p").expect("is a plan");
    assert_eq!(Plan::parse(&plan.to_toml(), "again").as_ref(), Ok(&plan));
    assert_eq!(plan.nodes(), 5);
    let twice = text.replace("replace = 5", "replace = 4");
    assert_eq!(Plan::parse(&twice, "p").expect_err("an id is used once").message, "n4 joins twice; an id is used once");
}

/// The error of the README's plan with one replacement.
fn error(from: &str, to: &str) -> (usize, String) {
    let text = example();
    assert!(text.contains(from), "{from}");
    let error = Plan::parse(&text.replacen(from, to, 1), "p.toml").expect_err(to);
    let PlanError { file, line, message } = error.clone();
    assert_eq!(error.to_string(), format!("{file}:{line}: {message}"));
    assert!(!message.contains('\n') && file == "p.toml", "{error}");
    (line, message)
}

#[test]
fn mistakes_get_a_sentence_with_the_line() {
    let line_of = |needle: &str| example().lines().position(|l| l.contains(needle)).expect("is in the example") + 1;
    let cases: &[(&str, &str, &str, &str)] = &[
        ("version = 1", "version = 2", "version", "plan version 2 is not supported; this program reads version 1"),
        ("voters = 3", "voters = 30", "[cluster]", "voters is 30; a cluster has from 1 to 9"),
        ("voters = 3", "voter = 3", "voters", "unknown field `voter`"),
        ("voters = 3", "voters = \"three\"", "voters", "invalid type: string \"three\""),
        ("loss_ppm = 1000", "loss_ppm = 2000000", "[network]", "loss_ppm is 2000000; parts per million are from 0 to 1000000"),
        ("client = 2\n", "client = 7\n", "client = 2", "operation 2: client 7 is not one of the 2 clients"),
        ("action.put =", "action.poke =", "action.put", "unknown variant `poke`, expected one of `put`, `get`"),
        ("n = 2,", "n = 0,", "n = 2,", "n is 0; the first occurrence"),
        ("probe = \"fast_round_completed\"", "probe = \"fast\"", "n = 2,", "there is no probe `fast`; there are append_rejected"),
        ("node = \"leader\", power", "node = \"boss\", power", "kind.crash", "`boss` is not one of n1, n2, …, leader"),
        ("node = \"leader\", power", "node = \"n7\", power", "kind.crash", "n7 is not one of the 3 nodes"),
        ("node = \"leader\", direction", "node = \"anchor\", direction", "when.at_us", "`anchor` is the node of the fault's anchor"),
        ("node = 4, promote", "node = 3, promote", "kind.add_member", "n3 cannot join 3 voters: an id that was never used is from 4 to 16"),
        ("when.at_us = 1500000", "when.at_us = 9500000", "when.at_us", "the plan heals at 5000000; it must begin earlier"),
        ("seed = 42 ", "seed = -1 ", "seed", "a seed: a number from 0"),
        ("to = \"k9\"", "to = \"k0\"", "action.range", "the range from k0 to k0 is empty"),
    ];
    for (from, to, near, expect) in cases {
        let (line, message) = error(from, to);
        assert!(message.contains(expect), "{to}: {message}");
        // The line itself, or that of the entry it belongs to.
        assert!((line..=line + 3).contains(&line_of(near)), "{to}: line {line} is not at `{near}`: {message}");
    }
}

#[test]
fn text_that_is_no_plan_gets_a_sentence() {
    for (text, expect) in
        [("", "the plan has no version"), ("version = 1\n= 3", ":2: "), ("version = 1\n", "missing field"), ("{}", ":1: ")]
    {
        let error = Plan::parse(text, "p.toml").expect_err(text).to_string();
        assert!(error.starts_with("p.toml:") && error.contains(expect) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn two_operations_with_one_id_are_refused() {
    let text = example().replacen("id = 3\n", "id = 1\n", 1);
    let error = Plan::parse(&text, "p").expect_err("ids are distinct");
    assert_eq!(error.message, "there are two operations with the id 1");
}

#[test]
fn taking_units_out_leaves_the_rest_as_it_was() {
    let plan = scenario("recovery").expect("is built in").draw(11);
    let units = plan.units();
    assert_eq!(units.len(), plan.op.len() + plan.fault.len());
    let some: Vec<Unit> = units.iter().copied().step_by(3).collect();
    let smaller = plan.without(&some);
    assert_eq!(smaller.units(), units.iter().copied().filter(|u| !some.contains(u)).collect::<Vec<_>>());
    assert!(smaller.op.iter().all(|o| plan.op.contains(o)) && smaller.fault.iter().all(|f| plan.fault.contains(f)));
    assert_eq!(smaller.validate(), Ok(()));
}

#[test]
fn simplifying_comes_to_an_end() {
    let mut plan = scenario("standard").expect("is built in").draw(5);
    let mut steps = 0;
    while let Some(simpler) = Simplification::ALL.iter().find_map(|&how| plan.simplified(how)) {
        assert_eq!(simpler.validate(), Ok(()));
        plan = simpler;
        steps += 1;
        assert!(steps < 200, "a simplification goes on for ever");
    }
    assert!(steps > 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_written_is_read_back(seed in any::<u64>(), which in 0usize..13, keep in any::<u64>()) {
        let plan = plan::scenarios()[which].draw(seed);
        let units: Vec<Unit> = plan.units().into_iter().enumerate().filter(|(i, _)| keep >> (i % 64) & 1 == 0).map(|(_, u)| u).collect();
        for plan in [plan.without(&units), plan] {
            let read = Plan::parse(&plan.to_toml(), "p");
            prop_assert_eq!(read.as_ref(), Ok(&plan));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(at in 0usize..2000, byte in 32u8..127) {
        let mut text = example().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(text) = String::from_utf8(text) {
            let _ = Plan::parse(&text, "p");
        }
    }
}
