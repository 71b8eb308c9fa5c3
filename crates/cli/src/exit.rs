//! How the tool ends: one exit code per kind of outcome, one line per failure.
//!
//! Invariant: the codes are part of the tool's interface; scripts rely on them.
//! They are listed in `--help` and in docs/cli.md, and a test keeps the two equal.

use std::{fmt, process::ExitCode};

/// Why the tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was answered.
    Done,
    /// The job was answered, some of its items failed.
    SomeFailed,
    /// The command line, an input or the request was wrong.
    Usage,
    /// No server could be reached.
    Unreachable,
    /// The deadline came first.
    Deadline,
    /// The servers refused the work for now.
    Overloaded,
    /// No such model, or a model made for another task.
    NotFound,
    /// The token or certificate was not accepted.
    Denied,
    /// A fault of the server or of this tool.
    Internal,
    /// Ctrl-C.
    Interrupted,
}

/// The table shown by `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    everything was answered
  1    some items failed, the others were answered
  2    wrong usage or input
  3    no server could be reached
  4    the deadline came first
  5    the servers are overloaded and refused
  6    no such model, or the wrong task for it
  7    the token or certificate was not accepted
  70   a fault of a server or of this tool
  130  interrupted by Ctrl-C";

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::SomeFailed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Deadline => 4,
            Self::Overloaded => 5,
            Self::NotFound => 6,
            Self::Denied => 7,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An outcome without an answer, as one line.
#[derive(Debug)]
pub(crate) struct CommandFailure {
    /// What the tool ends with.
    pub(crate) exit: Exit,
    /// What is wrong, naming the flag, file and line or field.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl CommandFailure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A mistake in what the caller gave.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages of servers are kept to one line, without control characters.
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace(char::is_control, "");
        write!(f, "{}", line(&self.message))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {})", line(hint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_code() {
        let every = [
            Exit::Done,
            Exit::SomeFailed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Deadline,
            Exit::Overloaded,
            Exit::NotFound,
            Exit::Denied,
            Exit::Internal,
            Exit::Interrupted,
        ];
        let listed: Vec<u8> =
            HELP.lines().skip(1).filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, every.map(Exit::code));
        let page = include_str!("../../../docs/cli.md");
        for exit in every {
            assert!(page.contains(&format!("| {} |", exit.code())), "docs/cli.md lacks exit code {}", exit.code());
        }
    }

    #[test]
    fn a_failure_is_one_clean_line() {
        let failure = CommandFailure::usage("bad\nthing \u{1b}[31m").hint("do\tthis");
        assert_eq!(failure.to_string(), "bad thing [31m (hint: do this)");
    }
}
