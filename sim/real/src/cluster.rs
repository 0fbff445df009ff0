//! The processes of a real cluster on loopback, and their files. Dropping it ends them and removes the files.

use server::real::Members;
use server::rpc::wire::FetchRequest;
use server::rpc::wire::curp_client::CurpClient;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::time::{Duration, sleep};

pub(crate) struct Cluster {
    dir: PathBuf,
    members: Members,
    processes: BTreeMap<u32, Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Cluster {
    /// Starts `n` nodes on ports that are free now.
    pub(crate) fn start(n: u32) -> Result<Cluster, String> {
        let dir = std::env::temp_dir().join(format!("test-real-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        // All are held until all are known, so that none is given twice.
        let listeners: Vec<TcpListener> =
            (0..2 * n).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(|error| format!("no port: {error}"))?;
        let addresses: Vec<_> =
            listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().map_err(|error| format!("no port: {error}"))?;
        drop(listeners);
        let member = |id: u32| {
            let (client, peer) = (addresses[2 * id as usize - 2], addresses[2 * id as usize - 1]);
            format!("[[member]]\nid = {id}\nclient = \"{client}\"\npeer = \"{peer}\"\n")
        };
        let path = dir.join("members.toml");
        std::fs::write(&path, (1..=n).map(member).collect::<String>()).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut cluster = Cluster { members: Members::read(&path)?, dir, processes: BTreeMap::new() };
        for id in cluster.ids() {
            cluster.restart(id)?;
        }
        Ok(cluster)
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.members.ids()
    }

    /// Where clients reach each node.
    pub(crate) fn client_addresses(&self) -> BTreeMap<u32, String> {
        self.members.clients()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, id: u32) -> Result<(), String> {
        let Some(mut process) = self.processes.remove(&id) else { return Err(format!("node {id} does not run")) };
        if let Ok(Some(status)) = process.try_wait() {
            return Err(format!("node {id} ended by itself: {status}"));
        }
        process.kill().and_then(|()| process.wait()).map(|_| ()).map_err(|error| format!("node {id} cannot be killed: {error}"))
    }

    /// Starts a node on the directory it had.
    pub(crate) fn restart(&mut self, id: u32) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let mut command = Command::new(program);
        command.args(["server", "--until-stdin-ends", "--id", &id.to_string()]);
        command.arg("--members").arg(self.dir.join("members.toml")).arg("--data").arg(&self.dir);
        let process = command.stdin(Stdio::piped()).spawn().map_err(|error| format!("node {id} cannot be started: {error}"))?;
        self.processes.insert(id, process);
        Ok(())
    }

    /// The leader, as soon as a node knows one.
    pub(crate) async fn leader(&self) -> Result<u32, String> {
        for _ in 0..100 {
            for address in self.client_addresses().values() {
                let Ok(endpoint) = tonic_endpoint(address) else { continue };
                let asked = CurpClient::new(endpoint).fetch_leader(FetchRequest { client: u32::MAX }).await;
                if let Ok(Some(leader)) = asked.map(|response| response.into_inner().leader) {
                    return Ok(leader);
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err("no node knows a leader".to_owned())
    }
}

fn tonic_endpoint(address: &str) -> Result<server::rpc::Channel, String> {
    server::rpc::connect(address).map_err(|error| error.to_string())
}
