//! KV and Lease: each call is a request of the cluster's, and its answer the synced result.

use curp::{CallError, Synced};
use kv::{Error, Response as Applied};
use tokio::sync::mpsc::channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::convert::{self, Answer, Call};
use super::front::EtcdHost;
use super::{Answered, CallName, EtcdServices, REQUEST_MAX, Streamed, name_of, no_leader, requires_leader, result_status, w};

/// Keep-alives answered ahead of a caller that does not read.
const ANSWERS_AHEAD_MAX: usize = 16;

const TOO_LARGE: &str = "etcdserver: request is too large";
const TOO_MANY: &str = "etcdserver: too many requests";
const TIMED_OUT: &str = "etcdserver: request timed out";

/// Why a call has no result, in etcd's words. What is unknown to the caller etcd calls timed out.
pub(super) fn failed(error: CallError) -> Status {
    match error {
        CallError::Invalid(words) => match Error::ALL.iter().copied().find(|error| error.message() == words) {
            Some(error) => convert::status(error),
            None => Status::invalid_argument(words),
        },
        CallError::Unavailable => Status::resource_exhausted(TOO_MANY),
        CallError::Unknown => Status::unavailable(TIMED_OUT),
    }
}

/// The way back, but for what is an error of the API's.
pub(super) fn not_done(status: &Status) -> Option<CallError> {
    match (status.code(), status.message()) {
        (Code::ResourceExhausted, TOO_MANY) => Some(CallError::Unavailable),
        (Code::Unavailable, TIMED_OUT) => Some(CallError::Unknown),
        (Code::InvalidArgument, words) => Some(CallError::Invalid(words.to_owned())),
        _ => None,
    }
}

impl<H: EtcdHost> EtcdServices<H> {
    async fn done(&self, name: Option<CallName>, call: Call) -> Result<Answer, Status> {
        if call.encoded_len() > REQUEST_MAX {
            return Err(Status::invalid_argument(TOO_LARGE));
        }
        let request = convert::request_in(call)?;
        let Synced { revision, response } = self.front.call_named(name, request).await.map_err(failed)?;
        self.answer(revision, &response)
    }

    fn answer(&self, revision: u64, response: &Applied) -> Result<Answer, Status> {
        convert::answer_out(self.header(revision), response).map_err(|error| result_status(error, revision))
    }
}

/// The answer of this kind, which a request of this kind has.
macro_rules! of_kind {
    ($services:expr, $kind:ident, $request:expr) => {{
        $services.refuse_without_leader($request.metadata())?;
        match $services.done(name_of($request.metadata()), Call::$kind($request.into_inner())).await? {
            Answer::$kind(answer) => Ok(Response::new(answer)),
            _ => Err(Status::internal("an answer of another kind")),
        }
    }};
}

#[tonic::async_trait]
impl<H: EtcdHost> w::kv_server::Kv for EtcdServices<H> {
    async fn range(&self, request: Request<w::RangeRequest>) -> Answered<w::RangeResponse> {
        of_kind!(self, Range, request)
    }

    async fn put(&self, request: Request<w::PutRequest>) -> Answered<w::PutResponse> {
        of_kind!(self, Put, request)
    }

    async fn delete_range(&self, request: Request<w::DeleteRangeRequest>) -> Answered<w::DeleteRangeResponse> {
        of_kind!(self, DeleteRange, request)
    }

    async fn txn(&self, request: Request<w::TxnRequest>) -> Answered<w::TxnResponse> {
        of_kind!(self, Txn, request)
    }

    async fn compact(&self, request: Request<w::CompactionRequest>) -> Answered<w::CompactionResponse> {
        of_kind!(self, Compact, request)
    }
}

#[tonic::async_trait]
impl<H: EtcdHost> w::lease_server::Lease for EtcdServices<H> {
    async fn lease_grant(&self, request: Request<w::LeaseGrantRequest>) -> Answered<w::LeaseGrantResponse> {
        of_kind!(self, Grant, request)
    }

    async fn lease_revoke(&self, request: Request<w::LeaseRevokeRequest>) -> Answered<w::LeaseRevokeResponse> {
        of_kind!(self, Revoke, request)
    }

    type LeaseKeepAliveStream = Streamed<w::LeaseKeepAliveResponse>;

    /// Keep-alives are answered one after the other; the first that fails ends the stream.
    async fn lease_keep_alive(&self, request: Request<Streaming<w::LeaseKeepAliveRequest>>) -> Answered<Self::LeaseKeepAliveStream> {
        self.refuse_without_leader(request.metadata())?;
        let (services, name, required) = (self.clone(), name_of(request.metadata()), requires_leader(request.metadata()));
        let mut asked = request.into_inner();
        let (tell, told) = channel(ANSWERS_AHEAD_MAX);
        let leaderless = self.clone().leaderless(required);
        tokio::spawn(async move {
            let answers = async {
                while let Ok(Some(request)) = asked.message().await {
                    let answer = match services.done(name, Call::KeepAlive(request)).await {
                        Ok(Answer::KeepAlive(answer)) => Ok(answer),
                        Ok(_) => Err(Status::internal("an answer of another kind")),
                        Err(status) => Err(status),
                    };
                    let failed = answer.is_err();
                    if tell.send(answer).await.is_err() || failed {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = answers => {}
                () = leaderless => {
                    let _ = tell.send(Err(no_leader())).await;
                }
            }
        });
        Ok(Response::new(Streamed(told)))
    }

    async fn lease_time_to_live(&self, request: Request<w::LeaseTimeToLiveRequest>) -> Answered<w::LeaseTimeToLiveResponse> {
        of_kind!(self, TimeToLive, request)
    }

    async fn lease_leases(&self, request: Request<w::LeaseLeasesRequest>) -> Answered<w::LeaseLeasesResponse> {
        of_kind!(self, Leases, request)
    }
}
