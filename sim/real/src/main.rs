//! `cargo test-real`: three real processes on loopback, with real files and sockets. Clients of both kinds, native ones and those of the crate
//! etcd-client, put and get; the leader is killed (kill -9) and restarted, then all three are; everything is read back; and the history is judged
//! by the checker that judges simulated runs. Then etcd's API is gone through, by the crate and by etcdctl.
//!
//! The processes are this very binary with the word `server` first, which is then the program of `cargo server`. None is left behind:
//! each ends when its stdin does, which is when this process is gone, however it went.
//!
//! | file | what it is |
//! | --- | --- |
//! | `main.rs` | the story |
//! | `cluster.rs` | the processes |
//! | `caller.rs` | a client with a caller in it, and the history |
//! | `etcd.rs` | the crate etcd-client: callers in the same history, and a tour of the API |
//! | `etcdctl.rs` | etcd's own command line client, where it is installed |

#[cfg(not(madsim))]
mod caller;
#[cfg(not(madsim))]
mod cluster;
#[cfg(not(madsim))]
mod etcd;
#[cfg(not(madsim))]
mod etcdctl;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!("test-real: this build is for simulation (--cfg madsim); `cargo test-real` builds and runs the real one");
    std::process::ExitCode::from(64)
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("server") {
        return server::real::main(arguments);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the runtime starts");
    let result = runtime.block_on(async { tokio::time::timeout(story::TIME_MAX, story::run()).await });
    match result {
        Ok(Ok(summary)) => {
            println!("{summary}\n1 passed, 0 failed");
            std::process::ExitCode::SUCCESS
        }
        Ok(Err(sentence)) => {
            eprintln!("test-real: {sentence}\n0 passed, 1 failed");
            std::process::ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("test-real: not done after {} s\n0 passed, 1 failed", story::TIME_MAX.as_secs());
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(madsim))]
mod story {
    use kv::{PutRequest, RangeRequest, Request};
    use std::sync::Arc;
    use tokio::time::Duration;

    use crate::caller::{Book, Caller};
    use crate::cluster::Cluster;
    use crate::etcd::EtcdCaller;
    use crate::etcdctl::Etcdctl;

    pub(crate) const TIME_MAX: Duration = Duration::from_secs(300);
    const CLIENTS: u32 = 3;
    /// As many again come through etcd's API.
    const ETCD_CLIENTS: u32 = 3;
    const KEYS: u64 = 8;
    /// Operations of each client in each phase.
    const OPERATIONS: u64 = 60;
    /// Steps of the search.
    const SEARCH_STEPS: u64 = 20_000_000;

    pub(crate) async fn run() -> Result<String, String> {
        let mut cluster = Cluster::start(3)?;
        let book = Arc::new(Book::default());
        let mut callers: Vec<Caller> = (1..=CLIENTS).map(|c| Caller::new(c, &cluster, book.clone())).collect::<Result<_, _>>()?;

        let endpoints: Vec<String> = cluster.client_addresses().into_values().collect();
        cluster.leader().await?;
        let mut etcd = Vec::new();
        for address in CLIENTS + 1..=CLIENTS + ETCD_CLIENTS {
            etcd.push(EtcdCaller::new(address, &endpoints, book.clone()).await?);
        }

        phase(&mut callers, &mut etcd, 0).await;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        phase(&mut callers, &mut etcd, 1).await;
        cluster.restart(leader)?;
        phase(&mut callers, &mut etcd, 2).await;
        let unread = read_everything(&mut callers).await;
        for id in cluster.ids() {
            cluster.kill(id)?;
        }
        for id in cluster.ids() {
            cluster.restart(id)?;
        }
        let unread = unread + read_everything(&mut callers).await;
        drop(callers);

        let history = book.take();
        crate::etcd::tour(&endpoints, cluster.ids().len()).await?;
        let etcdctl = match Etcdctl::find(endpoints) {
            Some((etcdctl, version)) => {
                let members = cluster.ids().len();
                let toured = tokio::task::spawn_blocking(move || etcdctl.tour(members)).await;
                toured.map_err(|error| error.to_string())??;
                format!("etcdctl {version} too")
            }
            None => "etcdctl is not installed, and left out (Debian's package etcd-client)".to_owned(),
        };
        let answered = history.iter().filter(|op| op.outcome == history::Outcome::Ok).count();
        let fast = history.iter().filter(|op| op.ret.is_some() && op.fast_at == op.ret).count();
        let budget = check::Budget { steps: SEARCH_STEPS, ..check::Budget::default() };
        let judgement = check::judge(&history, None, check::Level::All, budget).map_err(|error| error.to_string())?;
        let called = history.iter().filter(|op| op.client > CLIENTS && op.outcome == history::Outcome::Ok).count();
        let counts = format!("{} operations, {answered} answered, {fast} of them fast first, {called} by etcd-client", history.len());
        match judgement.verdict {
            check::Verdict::Ok if unread > 0 => Err(format!("{counts}: {unread} reads at the end were not answered")),
            check::Verdict::Ok if called < history.len() / 5 => Err(format!("{counts}: few calls of etcd-client were answered")),
            check::Verdict::Ok if fast == 0 => Err(format!("{counts}: the fast path was never taken")),
            check::Verdict::Ok => Ok(format!(
                "three processes, node {leader} killed and restarted, then all; {counts}; linearizable; etcd's API as expected; {etcdctl}"
            )),
            verdict => Err(format!("{counts}: {verdict:?}: {}", judgement.message)),
        }
    }

    /// Every client does its operations, all clients of both kinds at once.
    async fn phase(callers: &mut [Caller], etcd: &mut Vec<EtcdCaller>, phase: u64) {
        let (mut native, mut others) = (Vec::new(), Vec::new());
        for caller in callers.iter() {
            let caller = caller.clone();
            native.push(tokio::spawn(async move {
                for i in 0..OPERATIONS {
                    caller.request(drawn(caller.address(), phase, i)).await;
                }
            }));
        }
        for mut caller in etcd.drain(..) {
            others.push(tokio::spawn(async move {
                for i in 0..OPERATIONS {
                    caller.request(drawn(caller.address(), phase, i)).await;
                }
                caller
            }));
        }
        for task in native {
            let _ = task.await;
        }
        for task in others {
            etcd.extend(task.await);
        }
    }

    /// A client's operation: one in four is a get.
    fn drawn(address: u32, phase: u64, i: u64) -> Request {
        let drawn = curp::splitmix64(u64::from(address) << 32 | phase << 16 | i);
        let key = format!("k{}", drawn % KEYS);
        if drawn >> 32 & 3 == 0 {
            return get(&key);
        }
        let value = format!("{phase}.{address}.{i}");
        Request::Put(PutRequest { key: key.as_str().into(), value: value.as_str().into(), ..PutRequest::default() })
    }

    fn get(key: &str) -> Request {
        Request::Range(RangeRequest { key: key.into(), range_end: None, limit: 0, ..RangeRequest::default() })
    }

    /// Every client reads every key: how many reads were not answered.
    async fn read_everything(callers: &mut [Caller]) -> u64 {
        let mut unread = 0;
        for caller in callers.iter() {
            for key in 0..KEYS {
                unread += u64::from(!caller.request(get(&format!("k{key}"))).await);
            }
        }
        unread
    }
}
