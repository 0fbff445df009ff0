//! The crate etcd-client against the cluster: a caller whose operations stand in the same history as everyone's, and a tour of the rest of the
//! API, held against what it should say.

use std::sync::Arc;

use client::Notice;
use curp::Synced;
use etcd_client::{
    Client, Compare, CompareOp, Error, EventType, GetOptions, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use kv::{KeyValue, Request, Response};
use tokio::time::{Duration, sleep, timeout};

use crate::caller::{Book, PATIENCE};

/// What a stream says next comes within this time.
const NEXT_MAX: Duration = Duration::from_secs(15);

/// A caller that comes through etcd's API.
pub(crate) struct EtcdCaller {
    address: u32,
    client: Client,
    book: Arc<Book>,
}

impl EtcdCaller {
    pub(crate) async fn new(address: u32, endpoints: &[String], book: Arc<Book>) -> Result<EtcdCaller, String> {
        let client = Client::connect(endpoints, None).await.map_err(|error| format!("etcd-client: {error}"))?;
        Ok(EtcdCaller { address, client, book })
    }

    pub(crate) fn address(&self) -> u32 {
        self.address
    }

    /// Puts or gets one key, and waits for the answer; false if none came.
    pub(crate) async fn request(&mut self, request: Request) -> bool {
        let (op, _) = self.book.invoke(self.address, request.clone());
        match timeout(PATIENCE, self.ask(&request)).await {
            Ok(Ok(synced)) => {
                self.book.note(Notice::Answered { op, node: 0, nonce: op, synced });
                true
            }
            _ => {
                self.book.give_up(op);
                false
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Synced<Response>, Error> {
        let revision = |header: Option<&etcd_client::ResponseHeader>| header.map_or(0, |header| unsigned(header.revision()));
        match request {
            Request::Put(put) => {
                let done = self.client.put(put.key.as_slice(), put.value.as_slice(), None).await?;
                Ok(Synced { revision: revision(done.header()), response: Response::Put { prev_kv: None } })
            }
            Request::Range(range) => {
                let done = self.client.get(range.key.as_slice(), None).await?;
                let kvs = done.kvs().iter().map(pair).collect();
                let response = Response::Range { kvs, count: unsigned(done.count()), more: done.more() };
                Ok(Synced { revision: revision(done.header()), response })
            }
            _ => Err(Error::InvalidArgs("only puts and gets are asked for here".to_owned())),
        }
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn pair(pair: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: pair.key().to_vec().into(),
        value: pair.value().to_vec().into(),
        create_revision: unsigned(pair.create_revision()),
        mod_revision: unsigned(pair.mod_revision()),
        version: unsigned(pair.version()),
        lease: pair.lease(),
    }
}

/// The sentence, if what should hold does not.
fn check(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("etcd-client: {}", sentence())) }
}

/// A tour of the API, in a cluster of so many members.
pub(crate) async fn tour(endpoints: &[String], members: usize) -> Result<(), String> {
    let failed = |what: &'static str| move |error: Error| format!("etcd-client: {what}: {error}");
    let mut client = Client::connect(endpoints, None).await.map_err(failed("connect"))?;
    keys(&mut client).await?;
    watch(&mut client).await?;
    leases(&mut client).await?;
    let listed = client.member_list().await.map_err(failed("member list"))?;
    check(listed.members().len() == members && listed.members().iter().all(|m| !m.is_learner()), || format!("{listed:?}"))?;
    let status = client.status().await.map_err(failed("status"))?;
    check(status.leader() > 0 && status.raft_term() > 0 && status.errors().is_empty(), || format!("{status:?}"))?;
    let hash = client.hash_kv(0).await.map_err(failed("hash of the pairs"))?;
    check(hash.header().is_some_and(|header| header.revision() > 1), || format!("{hash:?}"))
}

async fn keys(client: &mut Client) -> Result<(), String> {
    let failed = |what: &'static str| move |error: Error| format!("etcd-client: {what}: {error}");
    client.put("crate/a", "1", None).await.map_err(failed("put"))?;
    let put = client.put("crate/a", "2", Some(PutOptions::new().with_prev_key())).await.map_err(failed("put"))?;
    check(put.prev_key().is_some_and(|pair| pair.value() == b"1" && pair.version() == 1), || format!("{put:?}"))?;
    let got = client.get("crate/", Some(GetOptions::new().with_prefix())).await.map_err(failed("get"))?;
    check(got.count() == 1 && got.kvs()[0].value() == b"2" && got.kvs()[0].version() == 2, || format!("{got:?}"))?;
    let txn = Txn::new()
        .when([Compare::value("crate/a", CompareOp::Equal, "2")])
        .and_then([TxnOp::put("crate/b", "3", None), TxnOp::get("crate/a", None)])
        .or_else([TxnOp::delete("crate/a", None)]);
    let done = client.txn(txn).await.map_err(failed("txn"))?;
    let responses = done.op_responses();
    let as_asked = matches!(&responses[..], [TxnOpResponse::Put(_), TxnOpResponse::Get(got)] if got.kvs()[0].value() == b"2");
    check(done.succeeded() && as_asked, || format!("{done:?}"))?;
    let deleted = client.delete("crate/b", None).await.map_err(failed("delete"))?;
    check(deleted.deleted() == 1, || format!("{deleted:?}"))?;
    match client.put("", "x", None).await {
        Err(Error::GRpcStatus(status)) => check(status.message() == "etcdserver: key is not provided", || format!("{status:?}")),
        other => Err(format!("etcd-client: put of an empty key: {other:?}")),
    }
}

/// Two watchers on one stream: each is told its own, once, in order.
async fn watch(client: &mut Client) -> Result<(), String> {
    let failed = |what: &'static str| move |error: Error| format!("etcd-client: {what}: {error}");
    let put = client.put("crate/w", "1", None).await.map_err(failed("put"))?;
    let revision = put.header().map_or(0, etcd_client::ResponseHeader::revision);
    let from = WatchOptions::new().with_start_revision(revision).with_watch_id(5);
    let mut stream = client.watch("crate/w", Some(from)).await.map_err(failed("watch"))?;
    stream.watch("crate/v", Some(WatchOptions::new().with_prev_key().with_watch_id(6))).await.map_err(failed("watch"))?;
    let (mut told, mut created) = (Vec::new(), Vec::new());
    while told.len() < 4 {
        let next = timeout(NEXT_MAX, stream.message()).await.map_err(|_| format!("etcd-client: a watch tells no more than {told:?}"))?;
        let next = next.map_err(failed("watch"))?.ok_or("etcd-client: a watch has ended")?;
        if next.created() {
            created.push(next.watch_id());
        }
        if created == [5, 6] && next.created() {
            client.put("crate/v", "1", None).await.map_err(failed("put"))?;
            client.put("crate/w", "2", None).await.map_err(failed("put"))?;
            client.delete("crate/w", None).await.map_err(failed("delete"))?;
        }
        told.extend(next.events().iter().map(|event| {
            let value = event.kv().map_or(String::new(), |pair| String::from_utf8_lossy(pair.value()).into_owned());
            (next.watch_id(), event.event_type() == EventType::Put, value)
        }));
    }
    let of = |id: i64| told.iter().filter(|(watch, ..)| *watch == id).map(|(_, put, value)| (*put, value.as_str())).collect::<Vec<_>>();
    let as_written = of(5) == [(true, "1"), (true, "2"), (false, "")] && of(6) == [(true, "1")];
    check(as_written, || format!("watches were told {told:?}"))?;
    stream.cancel(5).await.map_err(failed("cancel"))?;
    let last = timeout(NEXT_MAX, stream.message()).await.map_err(|_| "etcd-client: no watch is canceled".to_owned())?;
    let last = last.map_err(failed("cancel"))?.ok_or("etcd-client: a watch has ended")?;
    check(last.canceled() && last.watch_id() == 5, || format!("{last:?}"))
}

async fn leases(client: &mut Client) -> Result<(), String> {
    let failed = |what: &'static str| move |error: Error| format!("etcd-client: {what}: {error}");
    let granted = client.lease_grant(2, None).await.map_err(failed("lease grant"))?;
    let lease = granted.id();
    check(lease != 0 && granted.ttl() == 2, || format!("{granted:?}"))?;
    client.put("crate/l", "1", Some(PutOptions::new().with_lease(lease))).await.map_err(failed("put"))?;
    let (mut keeper, mut kept) = client.lease_keep_alive(lease).await.map_err(failed("keep-alive"))?;
    // It lives longer than its time, while it is kept alive.
    for _ in 0..6 {
        keeper.keep_alive().await.map_err(failed("keep-alive"))?;
        let next = timeout(NEXT_MAX, kept.message()).await.map_err(|_| "etcd-client: no keep-alive is answered".to_owned())?;
        let next = next.map_err(failed("keep-alive"))?.ok_or("etcd-client: keep-alives have ended")?;
        check(next.ttl() == 2, || format!("{next:?}"))?;
        sleep(Duration::from_millis(600)).await;
    }
    let asked = client.lease_time_to_live(lease, Some(LeaseTimeToLiveOptions::new().with_keys())).await.map_err(failed("time to live"))?;
    check(asked.granted_ttl() == 2 && asked.keys() == [b"crate/l"], || format!("{asked:?}"))?;
    let listed = client.leases().await.map_err(failed("leases"))?;
    check(listed.leases().iter().any(|one| one.id() == lease), || format!("{listed:?}"))?;
    client.lease_revoke(lease).await.map_err(failed("revoke"))?;
    let got = client.get("crate/l", None).await.map_err(failed("get"))?;
    check(got.kvs().is_empty(), || format!("{got:?}"))?;
    match client.lease_revoke(lease).await {
        Err(Error::GRpcStatus(status)) => check(status.message() == "etcdserver: requested lease not found", || format!("{status:?}")),
        other => Err(format!("etcd-client: revoke of a lease that is gone: {other:?}")),
    }
}
