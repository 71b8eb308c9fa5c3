//! What callers say of themselves in request metadata: job, attempt, rescue, model, tokens, work, lane and
//! tenant. All are optional; a value that makes no sense is refused rather than
//! read as something else.

use http::HeaderMap;
use sortie_proto::metadata::{ATTEMPT, JOB_ID, LANE, MODEL, RESCUE, TENANT, TOKENS, WORK};
use sortie_work::Lane;

use crate::errors::ServeError;

/// Longest id or name: they are copied into answers and log lines.
const MAX_VALUE_BYTES: usize = 128;

/// Metadata of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerInfo {
    /// Shared by every chunk of a job; empty if not sent.
    pub job_id: String,
    /// Who pays; empty if not sent.
    pub tenant: String,
    /// The model that the message will name; empty if not sent.
    pub model: String,
    /// About how many tokens it will have; zero if not sent.
    pub tokens: u64,
    /// The work that they are; no less than the tokens.
    pub work: u64,
    /// Lane in the queue.
    pub lane: Lane,
    /// Number of the attempt, from 1; what is above it is speculation.
    pub attempt: u32,
}

impl Default for CallerInfo {
    fn default() -> Self {
        Self {
            job_id: String::new(),
            tenant: String::new(),
            model: String::new(),
            tokens: 0,
            work: 0,
            lane: Lane::default(),
            attempt: 1,
        }
    }
}

impl CallerInfo {
    /// Reads and checks the metadata. Who showed a key is the tenant its name says, and no other.
    pub fn read(headers: &HeaderMap, known: Option<&str>) -> Result<Self, ServeError> {
        let attempt = match text(headers, ATTEMPT)? {
            None => 1,
            Some(value) => match value.parse::<u32>() {
                Ok(n) if n > 0 => n,
                _ => return Err(bad(ATTEMPT, format!("{value:?} is not a whole number from 1"))),
            },
        };
        // Work that nobody else has is no speculation: it waits with first attempts.
        let attempt = match text(headers, RESCUE)? {
            None | Some("false") => attempt,
            Some("true") => 1,
            Some(other) => return Err(bad(RESCUE, format!("{other:?} is neither true nor false"))),
        };
        let lane = match text(headers, LANE)? {
            None => Lane::default(),
            Some(name) => {
                Lane::from_name(name).ok_or_else(|| bad(LANE, format!("{name:?} is neither interactive nor bulk")))?
            }
        };
        let number = |key| match text(headers, key)? {
            None => Ok(0),
            Some(value) => {
                value.parse::<u64>().map_err(|_| bad(key, format!("{value:?} is not a whole number from 0")))
            }
        };
        let tokens = number(TOKENS)?;
        Ok(Self {
            model: text(headers, MODEL)?.unwrap_or_default().to_owned(),
            tokens,
            work: number(WORK)?.max(tokens),
            job_id: text(headers, JOB_ID)?.unwrap_or_default().to_owned(),
            tenant: known.map_or_else(|| text(headers, TENANT), |name| Ok(Some(name)))?.unwrap_or_default().to_owned(),
            lane,
            attempt,
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, key: &'static str) -> Result<Option<&'a str>, ServeError> {
    let Some(value) = headers.get(key) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= MAX_VALUE_BYTES => Ok(Some(text)),
        Ok(text) => Err(bad(key, format!("has {} bytes, at most {MAX_VALUE_BYTES} are taken", text.len()))),
        Err(_) => Err(bad(key, "is not visible ASCII".to_owned())),
    }
}

fn bad(key: &'static str, message: String) -> ServeError {
    ServeError::BadMetadata { key, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<CallerInfo, ServeError> {
        let mut headers = HeaderMap::new();
        for (key, value) in pairs {
            headers.insert(*key, value.parse().unwrap());
        }
        CallerInfo::read(&headers, None)
    }

    #[test]
    fn nothing_sent_means_a_first_interactive_attempt() {
        let info = read(&[]).unwrap();
        assert_eq!(info, CallerInfo::default());
        assert_eq!((info.lane, info.attempt), (Lane::Interactive, 1));
    }

    #[test]
    fn everything_sent_is_read() {
        let info = read(&[(JOB_ID, "j1"), (TENANT, "t"), (ATTEMPT, "2"), (LANE, "bulk"), (MODEL, "m"), (TOKENS, "70")])
            .unwrap();
        assert_eq!((info.model.as_str(), info.tokens, info.work), ("m", 70, 70));
        let long = read(&[(TOKENS, "8192"), (WORK, "24576")]).unwrap();
        assert_eq!((long.tokens, long.work), (8_192, 24_576));
        assert_eq!(read(&[(ATTEMPT, "3"), (RESCUE, "true")]).unwrap().attempt, 1);
        assert_eq!(read(&[(ATTEMPT, "3"), (RESCUE, "false")]).unwrap().attempt, 3);
        assert_eq!((info.job_id.as_str(), info.tenant.as_str()), ("j1", "t"));
        assert_eq!((info.lane, info.attempt), (Lane::Bulk, 2));
    }

    #[test]
    fn a_key_says_who_the_tenant_is() {
        let mut headers = HeaderMap::new();
        headers.insert(TENANT, "somebody-else".parse().unwrap());
        assert_eq!(CallerInfo::read(&headers, Some("me")).unwrap().tenant, "me");
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        for (key, value) in [
            (ATTEMPT, "0"),
            (ATTEMPT, "-1"),
            (ATTEMPT, "two"),
            (LANE, "express"),
            (RESCUE, "yes"),
            (JOB_ID, long.as_str()),
            (TOKENS, "-3"),
            (TOKENS, "many"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(matches!(&error, ServeError::BadMetadata { key: k, .. } if *k == key), "{error}");
        }
    }
}
