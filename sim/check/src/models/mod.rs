//! Sequential models: what the histories of each kind of object are held against.

pub mod append;
pub mod kv;
pub mod register;
pub mod zk;
