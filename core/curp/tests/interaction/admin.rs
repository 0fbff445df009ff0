//! The commands of a script that are an operator's: configurations, leadership, shutdown, and nodes that join.

use curp::{Admin, ConfigChange, NodeId, Request};

use crate::cluster::Cluster;
use crate::run::config_version;
use crate::script::Line;

pub fn run(cluster: &mut Cluster, name: &str, line: &mut Line<'_>) -> Result<(), String> {
    let node: NodeId = line.value("node")?;
    if name == "new" {
        line.done()?;
        return cluster.join(node);
    }
    let wish = match name {
        "change" => {
            let change = change(line)?;
            let base = match line.text("base") {
                Some(base) => config_version(base)?,
                None => cluster.raw(node)?.membership().version,
            };
            Admin::ChangeMembership { base, change }
        }
        "move-leader" => Admin::MoveLeader { to: line.value("node")? },
        _ => Admin::Shutdown,
    };
    let from = line.option("from")?.unwrap_or(9);
    line.done()?;
    cluster.input(node, |raw, _, now| raw.request(from, Request::Admin { nonce: 0, wish }, now))
}

fn change(line: &mut Line<'_>) -> Result<ConfigChange, String> {
    let (kind, node) = (line.word("a change")?, line.value("node")?);
    let address = line.text("at").unwrap_or_default().to_owned();
    match kind {
        "add" => Ok(ConfigChange::AddLearner { node, address }),
        "promote" => Ok(ConfigChange::Promote { node }),
        "remove" => Ok(ConfigChange::Remove { node }),
        "update" => Ok(ConfigChange::Update { node, address }),
        other => Err(format!("`{other}` is not a change; accepted: add, promote, remove, update")),
    }
}
