//! What came of each job, one JSON value a line, for those who want more than the table has.
//!
//! Invariant: lines are whole; jobs of the warm-up are left out, as everywhere.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{
    generate::Done,
    record::{AnsweredJob, BenchJobEnd},
    target::BenchError,
};

/// One line.
#[derive(Debug, Serialize)]
struct LogLine<'a> {
    strategy: &'a str,
    /// From 1.
    round: u32,
    /// When it was meant to start, from the start of the measuring.
    at_ms: f64,
    /// From its intended start.
    latency_ms: f64,
    /// Of that, before it was sent.
    late_ms: f64,
    /// `OK`, `CANCELLED`, or why it counts as failed.
    outcome: &'a str,
    tokens: u64,
    chunks: u64,
    hedges: u64,
    hedges_won: u64,
    retries: u64,
    /// Tokens by the address of the server that answered them.
    servers: &'a BTreeMap<String, u64>,
}

/// The file, if one was asked for.
#[derive(Debug)]
pub(crate) struct Log(Option<(PathBuf, BufWriter<File>)>);

impl Log {
    /// Makes the file.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, BenchError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = File::create(path).map_err(|error| BenchError::file("--log", path, error))?;
        Ok(Self(Some((path.to_owned(), BufWriter::new(file)))))
    }

    /// Writes a job down that was meant to start after `warm_up`.
    pub(crate) fn add(&mut self, strategy: &str, round: u32, warm_up: Duration, job: &Done) -> Result<(), BenchError> {
        let Some((path, out)) = &mut self.0 else { return Ok(()) };
        let none = AnsweredJob::default();
        let (outcome, answered) = match &job.ended {
            BenchJobEnd::Answered(answered) => (answered.fault().unwrap_or("OK"), answered),
            BenchJobEnd::Failed(reason) => (reason.as_str(), &none),
            BenchJobEnd::Cancelled => ("CANCELLED", &none),
        };
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let line = LogLine {
            strategy,
            round,
            at_ms: ms(job.at.saturating_sub(warm_up)),
            latency_ms: ms(job.latency),
            late_ms: ms(job.late),
            outcome,
            tokens: answered.tokens,
            chunks: answered.chunks,
            hedges: answered.hedges,
            hedges_won: answered.hedges_won,
            retries: answered.retries,
            servers: &answered.servers,
        };
        let written = serde_json::to_writer(&mut *out, &line).map_err(Into::into).and_then(|()| out.write_all(b"\n"));
        written.map_err(|error: std::io::Error| BenchError::unwritten("--log", path, error))
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<(), BenchError> {
        let Some((path, mut out)) = self.0 else { return Ok(()) };
        out.flush().map_err(|error| BenchError::unwritten("--log", &path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_a_line() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut log = Log::create(Some(&path)).unwrap();
        let ms = Duration::from_millis;
        let answered = AnsweredJob { tokens: 9, servers: [("a".to_owned(), 9)].into(), ..AnsweredJob::default() };
        let short = AnsweredJob { missing: 1, ..answered.clone() };
        for ended in [
            BenchJobEnd::Answered(answered),
            BenchJobEnd::Answered(short),
            BenchJobEnd::Failed("X".to_owned()),
            BenchJobEnd::Cancelled,
        ] {
            let job = Done { at: ms(3_500), latency: ms(20), late: ms(1), ended };
            log.add("whole", 2, ms(3_000), &job).unwrap();
        }
        log.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let outcomes: Vec<&str> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["OK", "MISSING_SCORE", "X", "CANCELLED"]);
        assert_eq!((&lines[0]["at_ms"], &lines[0]["servers"]["a"]), (&500.0.into(), &9.into()));
    }
}
