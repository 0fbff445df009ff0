//! The schemas, the README's examples and the code agree; and what is wrong with a file is said with its line.

mod samples;

use history::{Operation, Stamped, TraceHeader, parse_history, parse_trace};
use serde_json::Value;

const README: &str = include_str!("../README.md");

/// The lines of the README's n-th block of JSON.
fn example(n: usize) -> String {
    README.split("```json\n").nth(n + 1).and_then(|rest| rest.split("```").next()).expect("the README has examples").to_string()
}

fn schema(text: &str) -> Value {
    serde_json::from_str(text).expect("a schema is JSON")
}

/// As much of JSON Schema as our schemas use.
fn valid(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {value}"));
    for (word, with) in schema.as_object().expect("a schema is an object") {
        let list = || with.as_array().expect("a list").iter();
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "pattern" => {}
            "$ref" => {
                let path = with.as_str().expect("a reference").trim_start_matches('#');
                valid(root, root.pointer(path).expect("it is defined"), value)?;
            }
            "type" => {
                let is = match with.as_str() {
                    Some("object") => value.is_object(),
                    Some("array") => value.is_array(),
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_u64() || value.is_i64(),
                    Some("boolean") => value.is_boolean(),
                    Some("null") => value.is_null(),
                    other => panic!("type {other:?}"),
                };
                if !is {
                    return fail(&format!("not a {with}"));
                }
            }
            "minimum" if value.as_i64().is_some_and(|number| number < 0) => return fail("too small"),
            "minimum" => {}
            "const" if with != value => return fail(&format!("not {with}")),
            "enum" if !list().any(|one| one == value) => return fail(&format!("none of {with}")),
            "const" | "enum" => {}
            "oneOf" | "anyOf" => {
                let tries: Vec<_> = list().map(|one| valid(root, one, value)).collect();
                let count = tries.iter().filter(|r| r.is_ok()).count();
                if count == 0 || (word == "oneOf" && count > 1) {
                    return fail(&format!("{count} of {word} fit ({tries:?})"));
                }
            }
            "items" => value.as_array().into_iter().flatten().try_for_each(|item| valid(root, with, item))?,
            "minItems" | "maxItems" | "maxProperties" => {
                let len = value.as_array().map_or(value.as_object().map_or(0, |o| o.len()), Vec::len) as u64;
                let limit = with.as_u64().expect("a number");
                if if word == "minItems" { len < limit } else { len > limit } {
                    return fail(&format!("{word} {limit}"));
                }
            }
            "required" => {
                if let Some(missing) = list().find(|name| value.get(name.as_str().expect("a name")).is_none()) {
                    return fail(&format!("{missing} is missing"));
                }
            }
            "properties" => {
                for (name, schema) in with.as_object().expect("an object") {
                    value.get(name).map_or(Ok(()), |value| valid(root, schema, value))?;
                }
            }
            other => panic!("the test does not know `{other}`"),
        }
    }
    Ok(())
}

#[test]
fn the_readme_s_history_is_one() {
    let text = example(0);
    let schema = schema(include_str!("../schema/history.schema.json"));
    let history = parse_history("README.md", &text).unwrap_or_else(|e| panic!("{e}"));
    for (operation, line) in history.iter().zip(text.lines()) {
        let value: Value = serde_json::from_str(line).expect("it was parsed");
        valid(&schema, &schema, &value).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(serde_json::to_string(operation).expect("it can be written"), line, "an example is written as we would write it");
    }
    assert_eq!(history.len(), 3);
}

#[test]
fn the_readme_s_trace_is_one() {
    let text = example(1);
    let schema = schema(include_str!("../schema/trace.schema.json"));
    let (header, events) = parse_trace("README.md", &text).unwrap_or_else(|e| panic!("{e}"));
    let written = std::iter::once(serde_json::to_string::<TraceHeader>(&header));
    let written: Vec<String> =
        written.chain(events.iter().map(serde_json::to_string::<Stamped>)).map(|line| line.expect("it can be written")).collect();
    assert_eq!(written, text.lines().collect::<Vec<_>>(), "an example is written as we would write it");
    for line in text.lines() {
        valid(&schema, &schema, &serde_json::from_str(line).expect("it was parsed")).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn every_event_fits_the_schema() {
    let schema = schema(include_str!("../schema/trace.schema.json"));
    for event in samples::stamped() {
        let value = serde_json::to_value(&event).expect("it can be written");
        valid(&schema, &schema, &value).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn every_operation_fits_the_schema() {
    let schema = schema(include_str!("../schema/history.schema.json"));
    let text = example(0);
    let first: Operation = serde_json::from_str(text.lines().next().expect("a line")).expect("an operation");
    for op in samples::requests() {
        for response in samples::responses() {
            let mut operation = Operation { op: op.clone(), fast: Some(response.clone()), ..first.clone() };
            operation.synced.as_mut().expect("it has one").response = response;
            let value = serde_json::to_value(&operation).expect("it can be written");
            valid(&schema, &schema, &value).unwrap_or_else(|e| panic!("{e}"));
            let line = value.to_string();
            assert_eq!(parse_history("memory", &line).unwrap_or_else(|e| panic!("{e}")), [operation]);
        }
    }
}

fn history_error(text: &str) -> String {
    parse_history("h.jsonl", text).expect_err("it is wrong").to_string()
}

fn trace_error(text: &str) -> String {
    parse_trace("t.ndjson", text).expect_err("it is wrong").to_string()
}

#[test]
fn a_bad_history_is_refused_with_its_line() {
    let good = example(0);
    let cut = &good[..good.len() - 20];
    assert!(history_error(cut).contains("h.jsonl, line 3: the file ends in the middle of this line"), "{}", history_error(cut));
    let text = good.replace("\"unknown\"", "\"perhaps\"");
    assert!(history_error(&text).contains("line 3: unknown variant `perhaps`"), "{}", history_error(&text));
    let text = good.replace("\"invoke\":2000000", "\"invoke\":9000000");
    assert!(history_error(&text).contains("line 2: operation 1 has `return` 2900000 before its `invoke` 9000000"));
    let text = good.replace("\"id\":2", "\"id\":0");
    assert!(history_error(&text).contains("line 3: operation 0 stands on line 1 already"));
    let text = good.replace("\"fast_at\":1800000", "\"fast_at\":null");
    assert!(history_error(&text).contains("only one of `fast` and `fast_at`"));
    assert!(history_error("nonsense\n").contains("line 1: not JSON"));
    let text = good.replace("\"client\":2", "\"client\":2,\"colour\":\"red\"");
    assert!(parse_history("h.jsonl", &text).is_ok(), "unknown fields are skipped");
    assert!(parse_history("h.jsonl", "").is_ok_and(|history| history.is_empty()));
}

#[test]
fn a_bad_trace_is_refused_with_its_line() {
    let good = example(1);
    assert!(trace_error("").contains("the file is empty"));
    assert!(trace_error(&good.replace("\"format\":4", "\"format\":9")).contains("line 1: this trace has format version 9"));
    let error = trace_error(&good.replace("\"event\":\"Disk\"", "\"event\":\"Disc\""));
    assert!(error.contains("line 4: there is no event named `Disc`"), "{error}");
    let error = trace_error(&good.replace("\"offset\":16,", ""));
    assert!(error.contains("line 4: Disk: missing field `offset`"), "{error}");
    let error = trace_error(&good.replace("\"i\":2", "\"i\":7"));
    assert!(error.contains("line 4: event 7 follows 2 events"), "{error}");
    let error = trace_error(&good[..good.len() - 10]);
    assert!(error.contains("line 5: the file ends in the middle of this line"), "{error}");
}
