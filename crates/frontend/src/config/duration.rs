//! A length of time as people write it: `250ms`, `5s`, `1h 30m`; `0s` is none.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A length of time in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConfigDuration(pub Duration);

impl ConfigDuration {
    /// So many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The time, or nothing where `0s` switches something off.
    #[must_use]
    pub fn some(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for ConfigDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text);
        time.map(Self).map_err(|e| format!("{text:?} is no length of time such as 250ms, 5s or 1h 30m: {e}"))
    }
}

impl TryFrom<String> for ConfigDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ConfigDuration> for String {
    fn from(duration: ConfigDuration) -> Self {
        duration.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for duration in
            [ConfigDuration::secs(0), ConfigDuration::secs(5), ConfigDuration::millis(250), ConfigDuration::secs(5_400)]
        {
            assert_eq!(duration.to_string().parse::<ConfigDuration>().unwrap(), duration);
        }
        assert_eq!(ConfigDuration::secs(0).to_string(), "0s");
        assert_eq!(
            (ConfigDuration::secs(0).some(), ConfigDuration::secs(1).some()),
            (None, Some(Duration::from_secs(1)))
        );
    }

    #[test]
    fn a_number_alone_is_refused_with_an_example() {
        let error = "5".parse::<ConfigDuration>().unwrap_err();
        assert!(error.contains("5s"), "{error}");
    }
}
