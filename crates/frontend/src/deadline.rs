//! The server's deadline: arrival + `grpc-timeout` − margin, where
//! margin = max(2 ms, 2% of the timeout).
//!
//! The caller's own timer runs out at the full timeout and knows nothing else
//! (tonic's says CANCELLED). Ours runs out first, so that the caller gets
//! DEADLINE_EXCEEDED with details and a load report.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The header, as gRPC names it.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Least margin: a few scheduler ticks of a busy machine, and the answer's way out.
const MARGIN: Duration = Duration::from_millis(2);

/// Long timeouts leave a share: 2%.
const MARGIN_SHARE: u32 = 50;

/// Most digits the header may have, by the gRPC specification.
const MAX_DIGITS: usize = 8;

/// When work for this request must have ended; `None` without a (readable) timeout, as the
/// specification asks.
pub(crate) fn deadline(headers: &HeaderMap, arrived: Instant) -> Option<Instant> {
    let timeout = parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)?;
    arrived.checked_add(timeout.saturating_sub(MARGIN.max(timeout / MARGIN_SHARE)))
}

/// Reads digits and a unit: `H`ours, `M`inutes, `S`econds, `m`illi-, `u` micro- or `n`anoseconds.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(n * 3600),
        'M' => Duration::from_secs(n * 60),
        'S' => Duration::from_secs(n),
        'm' => Duration::from_millis(n),
        'u' => Duration::from_micros(n),
        'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        let read: Vec<_> = ["1H", "2M", "3S", "4m", "5u", "6n"].iter().map(|t| parse(t).unwrap().as_nanos()).collect();
        assert_eq!(read, [3_600_000_000_000, 120_000_000_000, 3_000_000_000, 4_000_000, 5_000, 6]);
    }

    #[test]
    fn nonsense_is_no_timeout() {
        for text in ["", "m", "1", "1x", "-1m", "123456789m", "1 m", "é", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_deadline_lies_before_the_transports_timer(ms in 0u64..100_000_000) {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, format!("{ms}m").parse().unwrap());
            let arrived = Instant::now();
            let left = deadline(&headers, arrived).unwrap() - arrived;
            let timeout = Duration::from_millis(ms);
            prop_assert!(left + MARGIN <= timeout || left.is_zero());
            prop_assert!(left.as_secs_f64() >= timeout.as_secs_f64() * 0.979 - 0.002);
        }
    }
}
