//! Observations → roles: a pure function.
