//! What statements were like, by their shape: counted by each worker for itself, without a lock or an allocation on a
//! statement's way, and put together where somebody asks.
//!
//! [`digest`] has the numbers of one shape, [`store`] a worker's shapes, [`spread`] the times from which percentiles are read.

pub mod digest;
pub mod latency;
pub mod spread;
pub mod store;
pub mod trace;
pub mod users;
