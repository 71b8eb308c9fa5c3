//! What was measured, as `docs/report/data.jsonl` keeps it: where, and then a cell a line.
//!
//! Invariant: a cell has one line, found by its key; one that is measured again takes its place.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::digest;

/// Jobs that were sent later than this (99 of 100, milliseconds) say nothing of who was sent to.
const LATE_MS: f64 = 5.0;

/// Parts of the report, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportPart {
    /// Ways to send to a fleet of timed devices, with and without faults.
    Tails,
    /// The same at other loads.
    Loads,
    /// Other shapes of work on timed devices.
    Shapes,
    /// What others put between one client and the fleet.
    Between,
    /// Real models, one server of each rival.
    Models,
    /// The simulator beside processes.
    Simulated,
}

impl ReportPart {
    /// All.
    pub const ALL: [Self; 6] = [Self::Tails, Self::Loads, Self::Shapes, Self::Between, Self::Models, Self::Simulated];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tails => "tails",
            Self::Loads => "loads",
            Self::Shapes => "shapes",
            Self::Between => "between",
            Self::Models => "models",
            Self::Simulated => "simulated",
        }
    }
}

/// Milliseconds; null where there was no job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportTimes {
    /// Mean of answered jobs.
    #[serde(with = "number")]
    pub mean: f64,
    /// Half of the answered jobs took no longer.
    #[serde(with = "number")]
    pub p50: f64,
    /// 99 of 100.
    #[serde(with = "number")]
    pub p99: f64,
    /// 999 of 1,000.
    #[serde(with = "number")]
    pub p999: f64,
    /// 99 of 100 of all jobs, a failed one as late as its deadline at least.
    #[serde(with = "number")]
    pub all_p99: f64,
}

/// What was measured of one system in one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportCell {
    /// Where it belongs.
    pub part: ReportPart,
    /// Shape of the work.
    pub scenario: String,
    /// What goes wrong; `none` where nothing does.
    pub fault: String,
    /// Share of capacity offered, or how many callers of a closed loop.
    pub load: String,
    /// Who is measured.
    pub system: String,
    /// Jobs that ended.
    pub jobs: u64,
    /// Of them, those without a whole and right answer.
    pub failed: u64,
    /// Failures by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Latencies, from the intended start.
    pub ms: ReportTimes,
    /// Whole answers a second.
    pub per_second: f64,
    /// Tokens of hedges and retries over those of first attempts, in percent; null where nobody counts.
    #[serde(with = "number")]
    pub extra_percent: f64,
    /// Documents left out, scored twice, without a number, with a wrong one, or out of order.
    pub wrong_documents: u64,
    /// How far a score lies from our server's at most; null without that reference.
    #[serde(with = "number")]
    pub worst_error: f64,
    /// How late jobs were sent, 99 of 100: the generator's own fault. Null where it is not known.
    #[serde(with = "number")]
    pub late_p99_ms: f64,
    /// (Share of jobs, milliseconds).
    pub curve: Vec<(f64, f64)>,
    /// Whatever else must be known to read it; empty where nothing is.
    pub note: String,
    /// Seconds that measuring it took, servers started and stopped included; 0 of a row that came with another.
    pub took_s: f64,
}

impl ReportCell {
    /// Whether the machine, not what was measured, decided it.
    #[must_use]
    pub fn was_late(&self) -> bool {
        self.late_p99_ms > LATE_MS
    }

    /// What tells it from others: also its place on the page.
    #[must_use]
    pub fn key(&self) -> String {
        let all = [self.part.name(), &self.scenario, &self.fault, &self.load, &self.system];
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
        all.map(|part| part.chars().map(plain).collect::<String>()).join("_")
    }
}

/// Where and with what it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The day, as year-month-day.
    pub date: String,
    /// The processor, its cores, and the memory.
    pub hardware: String,
    /// Kernel and system.
    pub system: String,
    /// Name and version of everything that was measured.
    pub versions: BTreeMap<String, String>,
    /// The whole command.
    pub command: String,
    /// Rows that were left out, and why.
    pub skipped: BTreeMap<String, String>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportData {
    /// Where.
    pub environment: Environment,
    /// What, in the order of the plan.
    pub cells: Vec<ReportCell>,
}

impl ReportData {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// If the file is not there or a line is something else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = (1..).zip(text.lines());
        let bad = |number: u32| format!("{}, line {number}", path.display());
        let (_, first) = lines.next().with_context(|| format!("{} is empty", path.display()))?;
        let environment = serde_json::from_str(first).with_context(|| bad(1))?;
        let cells = lines.map(|(number, line)| serde_json::from_str(line).with_context(|| bad(number)));
        Ok(Self { environment, cells: cells.collect::<anyhow::Result<_>>()? })
    }

    /// Its lines.
    ///
    /// # Errors
    ///
    /// If a number has no form in JSON.
    pub fn lines(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string(&self.environment)? + "\n";
        for cell in &self.cells {
            text += &(serde_json::to_string(cell)? + "\n");
        }
        Ok(text)
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let part = path.with_extension("part");
        fs::write(&part, self.lines()?)
            .and_then(|()| fs::rename(&part, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Puts a cell where it belongs: in place of the one of its key, else at the end.
    pub fn put(&mut self, cell: ReportCell) {
        let key = cell.key();
        match self.cells.iter_mut().find(|other| other.key() == key) {
            Some(other) => *other = cell,
            None => self.cells.push(cell),
        }
    }

    /// The cell of a key.
    #[must_use]
    pub fn cell(&self, key: &str) -> Option<&ReportCell> {
        self.cells.iter().find(|cell| cell.key() == key)
    }

    /// Tells it from other data.
    #[must_use]
    pub fn digest(&self) -> String {
        // What cannot be written cannot have been read.
        digest::bytes(self.lines().unwrap_or_default().as_bytes())
    }
}

/// JSON knows no NaN: what is not known is null.
mod number {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Option::deserialize(deserializer).map(|value| value.unwrap_or(f64::NAN))
    }
}

/// Some cells, as tests need them.
#[cfg(test)]
pub(super) fn example() -> ReportData {
    let cell = |part, fault: &str, system: &str, p99: f64| ReportCell {
        part,
        scenario: "rerank-200".to_owned(),
        fault: fault.to_owned(),
        load: "0.6".to_owned(),
        system: system.to_owned(),
        jobs: 10_000,
        failed: 0,
        reasons: BTreeMap::new(),
        ms: ReportTimes { mean: p99 / 4.0, p50: p99 / 4.0, p99, p999: p99 * 1.5, all_p99: p99 },
        per_second: 150.0,
        extra_percent: 0.5,
        wrong_documents: 0,
        worst_error: f64::NAN,
        late_p99_ms: 0.5,
        curve: vec![(0.5, p99 / 4.0), (0.99, p99)],
        note: String::new(),
        took_s: 68.0,
    };
    let cells = vec![
        cell(ReportPart::Tails, "none", "sortie", 40.0),
        cell(ReportPart::Tails, "none", "fixed split", 44.0),
        cell(ReportPart::Tails, "one 4x slow", "sortie", 72.0),
        cell(ReportPart::Tails, "one 4x slow", "fixed split", 2_000.0),
    ];
    ReportData { environment: Environment { date: "2026-01-01".to_owned(), ..Environment::default() }, cells }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_cells_take_their_own_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        let mut data = example();
        data.write(&path).unwrap();
        let read = ReportData::read(&path).unwrap();
        assert_eq!((read.digest(), read.cells.len()), (data.digest(), 4));
        let mut again = data.cells[1].clone();
        again.jobs = 7;
        data.put(again);
        assert_eq!((data.cells.len(), data.cells[1].jobs), (4, 7));
        assert_ne!(read.digest(), data.digest());
        assert_eq!(data.cells[2].key(), "tails_rerank-200_one-4x-slow_0.6_sortie");
        assert!(data.cell("tails_rerank-200_one-4x-slow_0.6_sortie").is_some());
        fs::write(&path, "{}\n{}\n").unwrap();
        assert!(ReportData::read(&path).unwrap_err().to_string().contains("line"), "names the line");
    }
}
