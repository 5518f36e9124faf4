//! HTTP, TLS, configuration and wiring. Contains no business rule: a request becomes bytes for the
//! service, an answer becomes bytes for the socket.
#![forbid(unsafe_code)]

pub mod bindings;
mod call;
pub mod config;
pub mod doctor;
pub mod forwarded;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod proxy;
pub mod telemetry;
pub mod tls;
pub mod wiring;
pub mod witness;
