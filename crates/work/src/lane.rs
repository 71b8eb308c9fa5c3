//! The priority class of a job.

/// Which queue a job waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody is waiting: cut, probed and hedged for the last answer to come early, and served first.
    #[default]
    Interactive,
    /// Nobody is: sent in few large chunks, never hedged for speed, and served after interactive work.
    Bulk,
}

impl Lane {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }

    /// The lane of that name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Interactive, Self::Bulk].into_iter().find(|lane| lane.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_comes_back_by_its_name_and_by_no_other() {
        for lane in [Lane::Interactive, Lane::Bulk] {
            assert_eq!(Lane::from_name(lane.name()), Some(lane));
        }
        assert_eq!((Lane::from_name("Bulk"), Lane::from_name("")), (None, None));
    }
}
