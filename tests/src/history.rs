//! The consistency test: many sessions write and read the same rows while the standby is slowed down, every operation is
//! recorded, and a judge says which reads saw less than they had to, or more than there was.
//!
//! `cells` are what is written and read, `ground` the tables they lie in. `means` and `plan` draw writes, `question` draws
//! reads, both from a seed; `world` knows what is in each cell, and lets only one session at a time write it. `play` runs a
//! session, `brake` slows the standby, and `judge`, which knows nothing of servers, compares.

pub mod brake;
pub mod cells;
pub mod ground;
pub mod judge;
pub mod means;
pub mod plan;
pub mod play;
pub mod question;
pub mod record;
pub mod statement;
pub mod world;
