//! What is told about each call of the API: a line in the log, a span of its trace.

use crate::{http::Front, telemetry::Traced};
use http::HeaderMap;
use jadeseal_service::{Reply, scope};
use jadeseal_types::ErrorCode;
use std::net::IpAddr;
use tokio::time::Instant;

/// A call of the API, for the log and for traces.
pub(crate) struct Call {
    begun: Instant,
    source: IpAddr,
    /// Size of its body, bytes.
    pub bytes_in: usize,
    traced: Option<Traced>,
}

impl Call {
    /// The head of its request has been read.
    pub fn begin(source: IpAddr, headers: &HeaderMap, front: &Front) -> Self {
        let traced = front.telemetry.as_ref().and_then(|telemetry| telemetry.begin(headers));
        Call { begun: Instant::now(), source, bytes_in: 0, traced }
    }

    /// It has been answered. Nothing of what was asked or answered but sizes goes anywhere.
    pub fn end(self, reply: &Reply, front: &Front) {
        let took = self.begun.elapsed();
        if let (Some(telemetry), Some(traced)) = (&front.telemetry, self.traced) {
            telemetry.end(traced, reply, self.source, self.bytes_in, took);
        }
        if !front.log_requests {
            return;
        }
        scope::within(&reply.request_id, reply.action, || {
            tracing::info!(
                target: "jadeseal::requests",
                code = reply.code.map_or("", ErrorCode::wire),
                duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                source = %self.source,
                bytes_in = self.bytes_in,
                bytes_out = reply.body.bytes().len(),
                "request"
            );
        });
    }
}
