//! Each connection is an open file, and many systems begin with 1,024 of them,
//! though the process may ask for far more.

/// Raises the soft limit on open files to the hard one.
pub(crate) fn allow_most() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current == maximum {
            return;
        }
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => tracing::debug!(from = current, to = maximum, "open files allowed"),
            Err(error) => tracing::warn!(%error, allowed = current, "cannot allow more open files"),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_soft_limit_is_the_hard_one() {
        super::allow_most();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
