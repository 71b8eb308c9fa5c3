//! Connections: who may have one, for how long, and what ends it.
//!
//! tonic's own server is not used for this: it has no cap on connections, no jitter
//! on their age, and with a grace set it cuts an aged connection without a GOAWAY
//! (0.14.9). The protocol is hyper's; the rules are here.
//!
//! ```text
//! accept ─ over the cap? closed at once ─ TLS ─ preface in time? ─ serve ─ age or drain: GOAWAY ─ grace ─ closed
//! ```
//! Invariants: a peer that does nothing, or reads nothing, holds a connection for a
//! bounded time; an aged or draining connection finishes the requests it has.

mod accept;
mod header_limit;
mod io;
mod serve;

use std::{net::SocketAddr, time::Duration};

pub(crate) use self::accept::accept;
use crate::config::FrontendConfig;

/// Age of a connection is drawn from its setting ± this share, so that a fleet of clients that
/// connected together does not come back together (gRFC A9 asks for a tenth).
const AGE_JITTER: f64 = 0.1;

/// What holds for every connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    max_connections: u32,
    max_streams: u32,
    max_bytes: u64,
    max_header_bytes: u32,
    age: Option<Duration>,
    age_grace: Duration,
    keepalive_interval: Option<Duration>,
    keepalive_timeout: Duration,
    handshake_timeout: Duration,
    stall_timeout: Option<Duration>,
}

impl ConnectionLimits {
    /// Those of the configuration.
    pub(crate) fn of(config: &FrontendConfig) -> Self {
        Self {
            max_connections: config.max_connections,
            max_streams: config.max_concurrent_streams,
            max_bytes: config.max_connection_bytes,
            max_header_bytes: config.max_header_bytes,
            age: config.max_connection_age.some(),
            age_grace: config.max_connection_age_grace.0,
            keepalive_interval: config.keepalive_interval.some(),
            keepalive_timeout: config.keepalive_timeout.0,
            handshake_timeout: config.handshake_timeout.0,
            stall_timeout: config.response_write_timeout.some(),
        }
    }

    /// The age of one connection, where `draw` is uniform in 0 to 1.
    fn jittered_age(&self, draw: f64) -> Option<Duration> {
        self.age.map(|age| age.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * draw.clamp(0.0, 1.0)))
    }
}

/// The other end of a connection; in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ages_are_spread_by_a_tenth_either_way(draw in 0.0f64..=1.0) {
            let hour = Duration::from_secs(3_600);
            let config = FrontendConfig { max_connection_age: crate::config::ConfigDuration(hour), ..FrontendConfig::default() };
            let age = ConnectionLimits::of(&config).jittered_age(draw).unwrap();
            prop_assert!(age >= hour.mul_f64(0.9) && age <= hour.mul_f64(1.1), "{age:?}");
            let off = FrontendConfig { max_connection_age: crate::config::ConfigDuration::secs(0), ..FrontendConfig::default() };
            prop_assert_eq!(ConnectionLimits::of(&off).jittered_age(draw), None);
        }
    }
}
