//! How long a caller waits: no header is a standard, but most clients and proxies say it in one of these. The smallest
//! counts; zero and nonsense are as if nothing were said.

use std::time::Duration;

use http::HeaderMap;

/// How a header's number is read.
type ReadPatience = fn(&str) -> Option<Duration>;

/// The headers, and who sends them.
const HEADERS: [(&str, ReadPatience); 8] = [
    // SDKs in Python that Stainless makes: those of OpenAI, Anthropic, and what stands on them.
    ("x-stainless-read-timeout", seconds),
    // The same maker's in JavaScript.
    ("x-stainless-timeout", seconds),
    // Envoy: what is left of the route's time.
    ("x-envoy-expected-rq-timeout-ms", milliseconds),
    ("grpc-timeout", grpc),
    // By hand.
    ("request-timeout", seconds),
    ("x-request-timeout", seconds),
    // Baseten's proxy and client.
    ("request-timeout-ms", milliseconds),
    ("request-deadline-ms", milliseconds),
];

/// Most digits of `grpc-timeout`, by the gRPC specification.
const MAX_DIGITS: usize = 8;

/// The smallest time that the headers name.
pub(super) fn patience(headers: &HeaderMap) -> Option<Duration> {
    let said = |(name, read): &(&str, ReadPatience)| read(headers.get(*name)?.to_str().ok()?.trim());
    HEADERS.iter().filter_map(said).filter(|time| !time.is_zero()).min()
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

fn milliseconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse::<f64>().ok()? / 1e3).ok()
}

/// Digits and a unit: `H`ours, `M`inutes, `S`econds, `m`illi-, `u` micro- or `n`anoseconds.
fn grpc(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<u128> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        patience(&headers).map(|time| time.as_millis())
    }

    #[test]
    fn every_header_has_its_unit() {
        for (name, value, ms) in [
            ("x-stainless-read-timeout", "0.5", 500),
            ("x-stainless-timeout", "3", 3_000),
            ("x-envoy-expected-rq-timeout-ms", "15", 15),
            ("grpc-timeout", "250m", 250),
            ("grpc-timeout", "2S", 2_000),
            ("request-timeout", "600", 600_000),
            ("x-request-timeout", "1.5", 1_500),
            ("request-timeout-ms", "20", 20),
            ("request-deadline-ms", "30", 30),
        ] {
            assert_eq!(read(&[(name, value)]), Some(ms), "{name}: {value}");
        }
    }

    #[test]
    fn the_smallest_wins_and_nonsense_is_absent() {
        assert_eq!(
            read(&[("request-timeout", "2"), ("grpc-timeout", "700m"), ("x-stainless-timeout", "600")]),
            Some(700)
        );
        for value in ["0", "-1", "soon", "", "NaN", "inf", "1e300", "None"] {
            assert_eq!(read(&[("x-stainless-timeout", value)]), None, "{value}");
            assert_eq!(read(&[("x-stainless-timeout", value), ("request-timeout", "1")]), Some(1_000), "{value}");
        }
        for value in ["1", "m", "123456789m", "1x", "0m", "é"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            assert_eq!(patience(&headers), None, "{value}");
        }
    }
}
