//! Cluster and Maintenance. What is asked about a node is answered from what the node knows; what changes the cluster is an operator's wish,
//! carried out through the log.

use client::AdminWish;
use curp::{AdminDone, AdminRefusal, CallError, ConfigChange, ConfigVersion, Membership, NodeId, splitmix64};
use kv::{Bytes, Error, RangeRequest};
use tonic::{Code, Request, Response, Status};

use super::front::{EtcdHost, Here};
use super::keys::failed;
use super::{Answered, EtcdServices, Streamed, VERSION, convert, w};
use crate::rpc::Place;

/// A member of this name that there is not is told apart from one whose name could never be one.
fn node_id(id: u64) -> Result<NodeId, Status> {
    NodeId::try_from(id).map_err(|_| Status::not_found("etcdserver: member not found"))
}

fn refused(why: &AdminRefusal) -> Status {
    let (code, words) = match why {
        AdminRefusal::NoSuchMember => (Code::NotFound, "etcdserver: member not found"),
        AdminRefusal::IdUsed => (Code::FailedPrecondition, "etcdserver: member ID already exist"),
        AdminRefusal::LastVoter => (Code::FailedPrecondition, "etcdserver: re-configuration failed due to not enough started members"),
        AdminRefusal::NotCaughtUp => {
            (Code::FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader")
        }
        AdminRefusal::TransferFailed => (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
        AdminRefusal::NotLeader(_) | AdminRefusal::NotReady | AdminRefusal::Busy | AdminRefusal::Stale(_) => {
            return failed(CallError::Unknown);
        }
    };
    Status::new(code, words)
}

/// `http://host:port` or `host:port`.
fn peer_of(urls: &[String]) -> Result<String, Status> {
    let url = urls.first().ok_or_else(|| Status::invalid_argument("etcdserver: given member URLs are invalid"))?;
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    address.parse::<Place>().map(|place| place.peer).map_err(|_| Status::invalid_argument("etcdserver: given member URLs are invalid"))
}

/// A name for a member that joins, drawn as etcd's are: from where it is and what it joins. A new version has new names, so that one who
/// was there before is not named again. Of 31 bits: gateways are told by the next.
fn drawn_name(peer: &str, version: ConfigVersion, attempt: u64) -> NodeId {
    let words = peer.bytes().map(u64::from).chain([version.term, version.index, attempt]);
    (words.fold(0, |hash, word| splitmix64(hash ^ word)) >> 33) as NodeId
}

impl<H: EtcdHost> EtcdServices<H> {
    fn members(&self, membership: &Membership) -> Vec<w::Member> {
        membership.members().map(|id| self.member(membership, id)).collect()
    }

    fn member(&self, membership: &Membership, id: NodeId) -> w::Member {
        let place = self.front.place(membership, id);
        let url = |address: String| format!("http://{address}");
        let client_urls = place.as_ref().and_then(|place| place.client.clone()).map(url).into_iter().collect();
        let peer_urls = place.map(|place| url(place.peer)).into_iter().collect();
        let is_learner = membership.learners.contains(&id);
        w::Member { id: u64::from(id), name: format!("node-{id}"), peer_urls, client_urls, is_learner }
    }

    /// The header of an answer about the cluster.
    fn header_here(&self) -> Option<w::ResponseHeader> {
        Some(self.header(self.front.here().revision))
    }

    async fn change(&self, change: ConfigChange) -> Result<Result<Membership, AdminRefusal>, Status> {
        match self.front.operate(AdminWish::Change(change)).await.map_err(failed)? {
            Ok(AdminDone::Changed(membership)) => Ok(Ok(membership)),
            Ok(_) => Err(Status::internal("an answer of another kind")),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn changed(&self, change: ConfigChange) -> Result<Membership, Status> {
        self.change(change).await?.map_err(|why| refused(&why))
    }
}

#[tonic::async_trait]
impl<H: EtcdHost> w::cluster_server::Cluster for EtcdServices<H> {
    /// The new member's name is drawn, since the next one in order would be given out twice: by two nodes at once, or by one that has
    /// forgotten who has left. It is to be started under it.
    async fn member_add(&self, request: Request<w::MemberAddRequest>) -> Answered<w::MemberAddResponse> {
        let request = request.into_inner();
        if !request.is_learner {
            return Err(Status::failed_precondition("etcdserver: a member joins as a learner, and is promoted when it has caught up"));
        }
        let peer = peer_of(&request.peer_urls)?;
        // Of an older configuration the names may have been given out before.
        self.front.catch_up().await.map_err(failed)?;
        let mut attempts = 0..;
        let (node, membership) = loop {
            let (known, present) = (self.front.nodes(), self.front.here().membership);
            let name = |attempt| drawn_name(&peer, present.version, attempt);
            let is_free = |node: &NodeId| *node != 0 && !known.contains(node) && !present.is_member(*node);
            let node = attempts.by_ref().map(name).find(is_free).expect("attempts do not end");
            match self.change(ConfigChange::AddLearner { node, address: peer.clone() }).await? {
                Ok(membership) if membership.is_member(node) && membership.addresses.get(&node) == Some(&peer) => break (node, membership),
                // Someone else has that name: what was found done was his joining.
                Ok(_) | Err(AdminRefusal::IdUsed) => {}
                Err(why) => return Err(refused(&why)),
            }
        };
        let member = Some(self.member(&membership, node));
        Ok(Response::new(w::MemberAddResponse { header: self.header_here(), member, members: self.members(&membership) }))
    }

    async fn member_remove(&self, request: Request<w::MemberRemoveRequest>) -> Answered<w::MemberRemoveResponse> {
        let node = node_id(request.into_inner().id)?;
        let membership = self.changed(ConfigChange::Remove { node }).await?;
        Ok(Response::new(w::MemberRemoveResponse { header: self.header_here(), members: self.members(&membership) }))
    }

    /// Clients go on reaching it where they did.
    async fn member_update(&self, request: Request<w::MemberUpdateRequest>) -> Answered<w::MemberUpdateResponse> {
        let w::MemberUpdateRequest { id, peer_urls } = request.into_inner();
        let (node, peer) = (node_id(id)?, peer_of(&peer_urls)?);
        let client = self.front.place(&self.front.here().membership, node).and_then(|place| place.client);
        let address = Place { client, peer }.to_string();
        let membership = self.changed(ConfigChange::Update { node, address }).await?;
        Ok(Response::new(w::MemberUpdateResponse { header: self.header_here(), members: self.members(&membership) }))
    }

    /// As this node has it; if it is to be linearizable, once this node has all that was changed before.
    async fn member_list(&self, request: Request<w::MemberListRequest>) -> Answered<w::MemberListResponse> {
        if request.into_inner().linearizable {
            self.front.catch_up().await.map_err(failed)?;
        }
        let Here { membership, .. } = self.front.here();
        Ok(Response::new(w::MemberListResponse { header: self.header_here(), members: self.members(&membership) }))
    }

    async fn member_promote(&self, request: Request<w::MemberPromoteRequest>) -> Answered<w::MemberPromoteResponse> {
        let node = node_id(request.into_inner().id)?;
        let votes = || self.front.here().membership.is_voter(node);
        // Asked for as a change it would be found made.
        let promoted = if votes() { Err(AdminRefusal::NoSuchMember) } else { self.change(ConfigChange::Promote { node }).await? };
        let membership = promoted.map_err(|why| match why {
            AdminRefusal::NoSuchMember if votes() => Status::failed_precondition("etcdserver: can only promote a learner member"),
            why => refused(&why),
        })?;
        Ok(Response::new(w::MemberPromoteResponse { header: self.header_here(), members: self.members(&membership) }))
    }
}

fn not_here<T>(what: &str) -> Answered<T> {
    Err(Status::unimplemented(format!("etcdserver: there is no {what} here")))
}

#[tonic::async_trait]
impl<H: EtcdHost> w::maintenance_server::Maintenance for EtcdServices<H> {
    /// There are no alarms to be listed.
    async fn alarm(&self, request: Request<w::AlarmRequest>) -> Answered<w::AlarmResponse> {
        match w::alarm_request::AlarmAction::try_from(request.into_inner().action) {
            Ok(w::alarm_request::AlarmAction::Get) => {
                Ok(Response::new(w::AlarmResponse { header: self.header_here(), alarms: Vec::new() }))
            }
            _ => not_here("alarm"),
        }
    }

    async fn status(&self, _: Request<w::StatusRequest>) -> Answered<w::StatusResponse> {
        let Here { id, term, leader, commit, applied, revision, membership, .. } = self.front.here();
        let bytes =
            self.front.look(|node| node.store().live().map(|pair| pair.key.as_slice().len() + pair.value.as_slice().len()).sum::<usize>());
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(Response::new(w::StatusResponse {
            header: Some(self.header(revision)),
            version: VERSION.to_owned(),
            db_size: bytes,
            leader: leader.map_or(0, u64::from),
            raft_index: commit,
            raft_term: term,
            raft_applied_index: applied,
            errors: if leader.is_some() { Vec::new() } else { vec!["etcdserver: no leader".to_owned()] },
            db_size_in_use: bytes,
            is_learner: membership.learners.contains(&id),
        }))
    }

    async fn defragment(&self, _: Request<w::DefragmentRequest>) -> Answered<w::DefragmentResponse> {
        not_here("defragmentation")
    }

    async fn hash(&self, _: Request<w::HashRequest>) -> Answered<w::HashResponse> {
        not_here("hash of a backend")
    }

    /// The CRC-32 of the pairs that live at a revision, on this node: equal on all that have it.
    async fn hash_kv(&self, request: Request<w::HashKvRequest>) -> Answered<w::HashKvResponse> {
        let asked = u64::try_from(request.into_inner().revision).unwrap_or(0);
        let hashed = self.front.look(|node| {
            let store = node.store();
            let (now, compacted) = (store.applied_revision(), store.compacted_revision());
            let revision = if asked == 0 { now } else { asked };
            if revision > now {
                return Err(Error::FutureRevision);
            }
            if revision < compacted {
                return Err(Error::Compacted);
            }
            let all = RangeRequest { key: Bytes::from("\0"), range_end: Some(Bytes::from("\0")), ..RangeRequest::default() };
            let (pairs, _) = store.range_at(&all, revision);
            let mut hasher = crc32fast::Hasher::new();
            for pair in &pairs {
                for bytes in [pair.key.as_slice(), pair.value.as_slice()] {
                    hasher.update(&(bytes.len() as u64).to_le_bytes());
                    hasher.update(bytes);
                }
                for number in [pair.create_revision, pair.mod_revision, pair.version, pair.lease.cast_unsigned()] {
                    hasher.update(&number.to_le_bytes());
                }
            }
            Ok((hasher.finalize(), compacted, revision))
        });
        let (hash, compacted, revision) = hashed.map_err(convert::status)?;
        let signed = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
        Ok(Response::new(w::HashKvResponse {
            header: self.header_here(),
            hash,
            compact_revision: signed(compacted),
            hash_revision: signed(revision),
        }))
    }

    type SnapshotStream = Streamed<w::SnapshotResponse>;

    async fn snapshot(&self, _: Request<w::SnapshotRequest>) -> Answered<Self::SnapshotStream> {
        not_here("snapshot for clients")
    }

    async fn move_leader(&self, request: Request<w::MoveLeaderRequest>) -> Answered<w::MoveLeaderResponse> {
        let node = node_id(request.into_inner().target_id)?;
        match self.front.operate(AdminWish::MoveLeader(node)).await.map_err(failed)? {
            Ok(_) => Ok(Response::new(w::MoveLeaderResponse { header: self.header_here() })),
            Err(why) => Err(refused(&why)),
        }
    }
}
