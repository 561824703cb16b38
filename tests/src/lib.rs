//! The harness: real servers and a real proxy for black-box tests.
