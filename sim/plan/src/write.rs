//! A plan as text: one line per fault and per operation, so that plans are read, compared and cut by line.

use crate::Plan;
use serde::Serialize;
use toml::ser::ValueSerializer;

impl Plan {
    /// The plan's TOML. [`Plan::parse`] gives back exactly this plan.
    pub fn to_toml(&self) -> String {
        let mut out = String::with_capacity(4096 + 90 * (self.op.len() + self.fault.len()));
        line(&mut out, "version", &self.version);
        line(&mut out, "scenario", &self.scenario);
        out.push_str("seed = ");
        crate::seed::serialize(&self.seed, ValueSerializer::new(&mut out)).expect("a seed has a TOML form");
        out.push('\n');
        line(&mut out, "required_probes", &self.required_probes);
        out.push('\n');
        line(&mut out, "cluster", &self.cluster);
        line(&mut out, "network", &self.network);
        line(&mut out, "disk", &self.disk);
        line(&mut out, "clock", &self.clock);
        if !self.client_clock.is_empty() {
            line(&mut out, "client_clock", &self.client_clock);
        }
        line(&mut out, "execution", &self.execution);
        line(&mut out, "workload", &self.workload);
        line(&mut out, "heal", &self.heal);
        line(&mut out, "end", &self.end);
        list(&mut out, "fault", &self.fault);
        list(&mut out, "op", &self.op);
        out
    }
}

fn line(out: &mut String, name: &str, value: &impl Serialize) {
    out.push_str(name);
    out.push_str(" = ");
    append(out, value);
    out.push('\n');
}

fn list(out: &mut String, name: &str, values: &[impl Serialize]) {
    out.push('\n');
    out.push_str(name);
    out.push_str(" = [\n");
    for value in values {
        out.push_str("  ");
        append(out, value);
        out.push_str(",\n");
    }
    out.push_str("]\n");
}

fn append(out: &mut String, value: &impl Serialize) {
    // Integers are the only thing that TOML limits here, and validated plans stay below an hour of microseconds.
    value.serialize(ValueSerializer::new(out)).expect("every value of a valid plan has a TOML form");
}
