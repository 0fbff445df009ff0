//! What is said on a stream of watchers. A watcher's name is the stream's: the caller gives it.

use kv::{Error, EventKind, WatchCreateRequest, WatchEvent, WatchFilter, WatchId, WatchResponse};

use super::w::watch_create_request::FilterType;
use super::{Malformed, Result, bytes, end_in, end_out, mvccpb, natural, pair_in, pair_out, signed, unknown, w};

/// What is to be watched.
///
/// # Errors
/// It names a filter that there is not.
pub fn create_in(create: w::WatchCreateRequest) -> Result<WatchCreateRequest> {
    let filter = |filter: &i32| match FilterType::try_from(*filter) {
        Ok(FilterType::Noput) => Ok(WatchFilter::NoPut),
        Ok(FilterType::Nodelete) => Ok(WatchFilter::NoDelete),
        Err(_) => Err(unknown("filter", *filter)),
    };
    Ok(WatchCreateRequest {
        filters: create.filters.iter().map(filter).collect::<Result<_>>()?,
        key: create.key.into(),
        range_end: end_in(create.range_end),
        start_revision: natural(create.start_revision),
        progress_notify: create.progress_notify,
        prev_kv: create.prev_kv,
    })
}

/// The way out, under this name.
pub fn create_out(watch_id: WatchId, create: &WatchCreateRequest) -> w::WatchCreateRequest {
    let filter = |filter: &WatchFilter| match filter {
        WatchFilter::NoPut => FilterType::Noput.into(),
        WatchFilter::NoDelete => FilterType::Nodelete.into(),
    };
    w::WatchCreateRequest {
        key: bytes(&create.key),
        range_end: end_out(create.range_end.as_ref()),
        start_revision: signed(create.start_revision),
        progress_notify: create.progress_notify,
        filters: create.filters.iter().map(filter).collect(),
        prev_kv: create.prev_kv,
        watch_id,
        fragment: false,
    }
}

/// What a watcher of this name is told. The revision up to which all is told stands in the header.
pub fn watch_out(header: w::ResponseHeader, watch_id: WatchId, response: &WatchResponse) -> w::WatchResponse {
    w::WatchResponse {
        header: Some(w::ResponseHeader { revision: signed(response.revision), ..header }),
        watch_id,
        created: response.created,
        canceled: response.canceled,
        compact_revision: signed(response.compact_revision),
        cancel_reason: response.cancel_reason.map_or_else(String::new, |error| error.message().to_owned()),
        fragment: false,
        events: response.events.iter().map(event_out).collect(),
    }
}

/// The way back.
///
/// # Errors
/// It is no response, or its reason to cancel is unknown.
pub fn watch_in(response: w::WatchResponse) -> Result<WatchResponse> {
    let header = response.header.ok_or_else(|| Malformed("a response without a header".to_owned()))?;
    let reason = |words: &str| Error::ALL.iter().copied().find(|error| error.message() == words);
    let cancel_reason = match response.cancel_reason.as_str() {
        "" => None,
        words => Some(reason(words).ok_or_else(|| Malformed(format!("`{words}` is no reason to cancel a watcher")))?),
    };
    Ok(WatchResponse {
        watch_id: response.watch_id,
        revision: natural(header.revision),
        created: response.created,
        canceled: response.canceled,
        compact_revision: natural(response.compact_revision),
        cancel_reason,
        events: response.events.into_iter().map(event_in).collect::<Result<_>>()?,
    })
}

fn event_out(event: &WatchEvent) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event { r#type: kind.into(), kv: Some(pair_out(&event.kv)), prev_kv: event.prev_kv.as_ref().map(pair_out) }
}

fn event_in(event: mvccpb::Event) -> Result<WatchEvent> {
    let kind = match mvccpb::event::EventType::try_from(event.r#type) {
        Ok(mvccpb::event::EventType::Put) => EventKind::Put,
        Ok(mvccpb::event::EventType::Delete) => EventKind::Delete,
        Err(_) => return Err(unknown("event", event.r#type)),
    };
    let pair = event.kv.ok_or_else(|| Malformed("an event without a pair".to_owned()))?;
    Ok(WatchEvent { kind, kv: pair_in(pair), prev_kv: event.prev_kv.map(pair_in) })
}
