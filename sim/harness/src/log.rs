//! The log: whatever the system under test says through `tracing`, stamped with virtual time and node, one JSON object a line.
//!
//! Time and node are values of the current thread, set by the engine before it hands an input to a node. The log is for people; no
//! check reads it, and the trace hash does not know of it.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::sync::OnceLock;
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry};

thread_local! {
    static TIME: Cell<u64> = const { Cell::new(0) };
    static NODE: Cell<Option<u32>> = const { Cell::new(None) };
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Virtual time from here on.
pub(crate) fn set_time(now: u64) {
    TIME.with(|time| time.set(now));
}

/// The node that runs from here on.
pub(crate) fn set_node(node: Option<u32>) {
    NODE.with(|current| current.set(node));
}

/// The node that runs, or ran last.
pub(crate) fn node() -> Option<u32> {
    NODE.with(Cell::get)
}

/// Runs `f` with a log at this filter, and returns the lines with its result.
pub(crate) fn with_log<R>(filter: &str, f: impl FnOnce() -> R) -> (R, Vec<String>) {
    // While a single subscriber exists, tracing asks the current thread whether a place in the code is of interest, for all threads and for
    // good: a run without a log, on another thread, would silence this one. A second subscriber makes it ask all that there are.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(NoSubscriber::default()));
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    LINES.with(|lines| lines.borrow_mut().clear());
    let result = tracing::subscriber::with_default(Registry::default().with(filter).with(Stamp), f);
    (result, LINES.with(|lines| std::mem::take(&mut *lines.borrow_mut())))
}

/// The layer that stamps.
struct Stamp;

impl<S: tracing::Subscriber> Layer<S> for Stamp {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = serde_json::json!({
            "t": TIME.with(Cell::get),
            "node": NODE.with(Cell::get),
            "level": event.metadata().level().as_str().to_lowercase(),
            "target": event.metadata().target(),
            "message": fields.message,
            "fields": fields.rest,
        });
        LINES.with(|lines| lines.borrow_mut().push(line.to_string()));
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.rest.insert(field.name().to_owned(), format!("{value:?}").into());
        }
    }
}
