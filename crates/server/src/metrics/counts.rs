//! Counts of each model's scheduler, added at a scrape.

use std::collections::HashMap;

use prometheus::{CounterVec, IntCounterVec};
use sortie_scheduler::Counts;

use sortie_frontend::metrics::MetricRegistrar;

/// Reads one figure.
type ReadCount = fn(&Counts) -> u64;

/// How one figure of [`Counts`] becomes a time series: its metric, its label besides the model, and
/// where it is read.
type CounterRow = (IntCounterVec, Option<&'static str>, ReadCount);

/// The same for microseconds, told in seconds.
type Seconds = (CounterVec, ReadCount);

/// See the module.
#[derive(Debug)]
pub(super) struct CountMetrics {
    rows: Vec<CounterRow>,
    seconds: Vec<Seconds>,
    /// What was added of each model so far, and the epoch of its scheduler.
    seen: HashMap<String, (u64, Counts)>,
}

impl CountMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        let mut rows: Vec<CounterRow> = Vec::new();
        let mut by = |name, help, label, values: &[(&'static str, ReadCount)]| {
            let metric = make.counters(name, help, &["model", label])?;
            rows.extend(values.iter().map(|(value, read)| (metric.clone(), Some(*value), *read)));
            Ok::<_, prometheus::Error>(())
        };
        by(
            "sortie_chunks_ended_total",
            "Admitted chunks that ended, by how",
            "result",
            &[("answered", |c| c.answered), ("expired", |c| c.expired), ("cancelled", |c| c.cancelled)],
        )?;
        by(
            "sortie_chunks_refused_total",
            "Chunks not admitted, by why",
            "reason",
            &[("full", |c| c.refused_full), ("late", |c| c.refused_late), ("other", |c| c.refused_other)],
        )?;
        by(
            "sortie_items_dropped_total",
            "Items dropped before they ran because their chunk was cancelled or expired, by where they were",
            "stage",
            &[("waiting", |c| c.items_dropped_waiting), ("formed", |c| c.items_dropped_formed)],
        )?;
        by(
            "sortie_wasted_tokens_total",
            "Tokens that were run for chunks that were over, by attempt",
            "attempt",
            &[
                ("first", |c| c.wasted_tokens.saturating_sub(c.wasted_hedge_tokens)),
                ("hedge", |c| c.wasted_hedge_tokens),
            ],
        )?;
        by(
            "sortie_stage_panics_total",
            "Panics caught around a batch, by stage",
            "stage",
            &[("prepare", |c| c.panics_prepare), ("run", |c| c.panics_run), ("finish", |c| c.panics_finish)],
        )?;
        let mut plain = |name, help, read| {
            rows.push((make.counters(name, help, &["model"])?, None, read));
            Ok::<_, prometheus::Error>(())
        };
        plain("sortie_chunks_admitted_total", "Chunks let into the queue", |c| c.admitted)?;
        plain("sortie_hedges_cancelled_total", "Second or later attempts cancelled", |c| c.hedges_cancelled)?;
        plain("sortie_hedge_items_dropped_total", "Items of such attempts that left the queue in time", |c| {
            c.hedge_items_dropped_waiting
        })?;
        plain("sortie_batches_total", "Batches that ran", |c| c.batches)?;
        plain("sortie_batches_failed_total", "Batches that failed and were cut up to find the item at fault", |c| {
            c.batches_failed
        })?;
        plain("sortie_device_tokens_total", "Tokens that went through the device", |c| c.batch_tokens)?;
        plain("sortie_device_work_total", "Tokens of work that went through the device", |c| c.batch_work)?;
        plain("sortie_batch_room_tokens_total", "Tokens that batches had room for", |c| c.batch_room_tokens)?;
        plain("sortie_items_poisoned_total", "Items given up because they fail alone", |c| c.poisoned)?;
        plain("sortie_items_quarantined_total", "Items refused because they failed alone before", |c| c.quarantined)?;
        plain("sortie_device_out_of_memory_total", "Times a device ran out of memory", |c| c.out_of_memory)?;
        plain("sortie_devices_lost_total", "Times a device was lost", |c| c.devices_lost)?;
        plain("sortie_devices_rebuilt_total", "Times a lost device was made anew", |c| c.devices_rebuilt)?;
        plain("sortie_items_handed_on_total", "Items of lost devices that another device ran", |c| c.items_handed_on)?;
        let mut seconds: Vec<Seconds> = Vec::new();
        let mut real = |name, help, read| {
            seconds.push((make.real_counters(name, help, &["model"])?, read));
            Ok::<_, prometheus::Error>(())
        };
        real("sortie_device_busy_seconds_total", "Time the device was at work", |c| c.run_us)?;
        real("sortie_batch_prepare_seconds_total", "Time that preparing batches took", |c| c.prepare_us)?;
        Ok(Self { rows, seconds, seen: HashMap::new() })
    }

    /// Adds what came since the last scrape. A scheduler started anew, as by a swap, counts from zero.
    pub(super) fn copy(&mut self, model: &str, epoch: u64, now: Counts) {
        let before = self.seen.insert(model.to_owned(), (epoch, now));
        let before = before.filter(|(then, _)| *then == epoch).map_or_else(Counts::default, |(_, counts)| counts);
        for (metric, label, read) in &self.rows {
            let came = read(&now).saturating_sub(read(&before));
            match label {
                Some(label) => metric.with_label_values(&[model, label]).inc_by(came),
                None => metric.with_label_values(&[model]).inc_by(came),
            }
        }
        for (metric, read) in &self.seconds {
            let came = read(&now).saturating_sub(read(&before));
            metric.with_label_values(&[model]).inc_by(came as f64 / 1e6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_grow_over_scrapes_and_swaps() {
        let all = sortie_frontend::metrics::FrontendMetrics::new().unwrap();
        let mut metrics = CountMetrics::new(&all.registrar()).unwrap();
        let counts = |answered, wasted, hedge, us| {
            let mut counts = Counts::default();
            (counts.answered, counts.wasted_tokens, counts.wasted_hedge_tokens) = (answered, wasted, hedge);
            counts.run_us = us;
            counts
        };
        let shows = |line: &str| {
            let text = all.render(true).unwrap();
            assert!(text.contains(line), "{line} is not in\n{text}");
        };
        metrics.copy("m", 1, counts(5, 30, 10, 500_000));
        metrics.copy("m", 1, counts(7, 40, 10, 500_000));
        shows("sortie_chunks_ended_total{model=\"m\",result=\"answered\"} 7");
        shows("sortie_wasted_tokens_total{attempt=\"first\",model=\"m\"} 30");
        // The model was swapped.
        metrics.copy("m", 2, counts(2, 0, 0, 250_000));
        shows("sortie_chunks_ended_total{model=\"m\",result=\"answered\"} 9");
        shows("sortie_wasted_tokens_total{attempt=\"hedge\",model=\"m\"} 10");
        shows("sortie_device_busy_seconds_total{model=\"m\"} 0.75");
    }
}
