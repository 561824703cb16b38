//! Tandem: two MySQL or MariaDB servers that replicate master-master, behind one port.
//!
//! Two rivers that meet only in one immutable topology snapshot:
//! - data: `listener → session → classify → route → pool → backend`
//! - control: `monitor → topology → failover`

pub mod admin;
pub mod app;
pub mod backend;
pub mod cache;
pub mod classify;
pub mod cli;
pub mod config;
pub mod configurator;
pub mod dashboard;
pub mod demo;
pub mod directory;
mod disk;
pub mod failover;
pub mod firewall;
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod listener;
pub mod log;
pub mod meter;
pub mod metrics;
pub mod mirror;
pub mod monitor;
pub mod net;
pub mod pool;
pub mod quota;
pub mod route;
pub mod session;
pub mod spans;
pub mod statement_log;
pub mod statistics;
pub mod supervisor;
pub mod topology;
pub mod worker;
