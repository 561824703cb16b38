//! How a connection begins: the packets, then the two sides of the exchange.

pub mod auth_switch;
pub mod greeting;
pub mod response;

pub mod accept;
pub mod connect;

pub use accept::{Accept, AcceptOptions, Answer, Dialogue, Login};
pub use auth_switch::AuthSwitchRequest;
pub use connect::{Connect, ConnectError, ConnectOptions, Progress, ServerInfo};
pub use greeting::Greeting;
pub use response::{HandshakeResponse, is_ssl_request};
