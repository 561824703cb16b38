//! How passwords are proved, one file a plugin.

pub mod native;
