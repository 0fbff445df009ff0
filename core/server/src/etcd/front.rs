//! [`EtcdFront`], the asynchronous front of a [`Gateway`]: a timer and a way in. Behind it, under a lock that is never held over an `await`, is
//! the gateway, which does the rest. It lives and dies with its node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{AdminWish, Config, Gateway, GatewayConfig, GatewayInput, GatewayOutput, Outcome};
use curp::{AdminDone, AdminRefusal, CallError, ClientAddress, Index, Membership, Message, Nanos, NodeId, Synced, Term};
use kv::{KeyValue, Request, Response, WatchCreateRequest, WatchResponse};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::host::Clock;
use crate::time::sleep;
