//! The load report in ORCA's form (gRFC A51), both ways.
//!
//! Fields of the message itself are of the whole process, as balancers understand them: they weigh a server by
//! `rps_fractional / (application_utilization + eps / rps_fractional)` and drop reports in which either is zero. Work is
//! counted in tokens, not in calls. What our clients read, the numbers of the one model that was asked, is in
//! `named_metrics` under `sortie.` and its name, from one table: what one side writes the other side reads.

use crate::{
    orca::OrcaLoadReport,
    v1::{Limits, LoadReport, ModelState},
};

/// A figure: its name in `named_metrics`, how it is read from a report and how it is put into one.
type Figure = (&'static str, fn(&LoadReport) -> f64, fn(&mut LoadReport, f64));

/// A figure that is a field of the report.
macro_rules! field {
    ($field:ident as $kind:ty) => {
        (
            concat!("sortie.", stringify!($field)),
            |report| report.$field as f64,
            |report, value| report.$field = value as $kind,
        )
    };
}

/// A figure that is a field of the report's limits. Where none is said there are no limits, not limits of zero.
macro_rules! limit {
    ($field:ident as $kind:ty) => {
        (
            concat!("sortie.", stringify!($field)),
            |report| report.limits.map_or(0.0, |limits| limits.$field as f64),
            |report, value| {
                if value > 0.0 {
                    report.limits.get_or_insert_with(Limits::default).$field = value as $kind;
                }
            },
        )
    };
}

/// Every figure. Whole numbers up to 2⁵³ are exact in a double; epochs and limits stay below.
const FIGURES: [Figure; 18] = [
    field!(epoch as u64),
    field!(busy as f32),
    field!(queue_wait_ms as f32),
    field!(queued_tokens as u64),
    field!(running_tokens as u64),
    field!(a_ms as f32),
    field!(b_us as f32),
    field!(knee_tokens as u32),
    field!(rate_tokens_per_second as f32),
    field!(overdue as f32),
    field!(served_tokens_per_second as f32),
    field!(state as i32),
    limit!(max_batch_tokens as u32),
    limit!(max_items as u32),
    limit!(max_message_bytes as u64),
    limit!(max_queue_tokens as u64),
    limit!(max_text_bytes as u64),
    (
        "sortie.cuts_jobs",
        |report| report.limits.map_or(0.0, |limits| f64::from(u8::from(limits.cuts_jobs))),
        |report, value| {
            if value > 0.0 {
                report.limits.get_or_insert_with(Limits::default).cuts_jobs = true;
            }
        },
    ),
];

/// Least utilization that is said of a model: without one an idle process would have no weight at all. What is served is
/// then said to be that share of what the model can do, so that the weight is what it can do.
const IDLE_UTILIZATION: f64 = 0.01;

/// A wait in the queue that counts as much as a device that is always at work: a third of what a second's deadline leaves
/// to queues. A balancer that keeps to half of a second's deadline sees the utilization double well before.
const FULL_QUEUE_WAIT_MS: f64 = 200.0;

/// What a process says of itself to balancers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessLoad {
    /// `application_utilization`: device time in use, and past it the queue. Above 1 work waits.
    pub utilization: f64,
    /// `rps_fractional`: tokens a second.
    pub served: f64,
    /// `eps`: tokens a second of requests that failed here, one that failed counted like one that did not.
    pub failed: f64,
}

impl ProcessLoad {
    /// The load of a process whose models have these `reports`, and of whose requests this share failed of late. `None`
    /// where no model takes work: then balancers keep what they knew, and health tells them the rest.
    #[must_use]
    pub fn of(reports: &[LoadReport], failed_share: f64) -> Option<Self> {
        let mut load = Self::default();
        let mut queue_ms = 0.0_f64;
        for report in reports.iter().filter(|report| report.state() == ModelState::Ready) {
            let busy = f64::from(report.busy).max(IDLE_UTILIZATION);
            load.utilization += busy;
            load.served += f64::from(report.served_tokens_per_second)
                .max(IDLE_UTILIZATION * f64::from(report.rate_tokens_per_second));
            queue_ms = queue_ms.max(f64::from(report.queue_wait_ms));
        }
        if load.utilization <= 0.0 || load.served <= 0.0 || !(load.utilization + load.served + queue_ms).is_finite() {
            return None;
        }
        load.utilization += queue_ms / FULL_QUEUE_WAIT_MS;
        let share = failed_share.clamp(0.0, MOST_FAILED_SHARE);
        load.failed = load.served * share / (1.0 - share);
        Some(load)
    }
}

/// Failures beyond this share weigh no more: what is served is not known to be nothing.
const MOST_FAILED_SHARE: f64 = 0.99;

/// Both in ORCA's form: the process's load, and the report of the model that was asked.
#[must_use]
pub fn to_orca(process: Option<&ProcessLoad>, asked: Option<&LoadReport>) -> OrcaLoadReport {
    let ProcessLoad { utilization, served, failed } = process.copied().unwrap_or_default();
    let figures = |report| FIGURES.iter().map(move |(name, get, _)| ((*name).to_owned(), get(report)));
    OrcaLoadReport {
        application_utilization: utilization,
        rps_fractional: served,
        eps: failed,
        named_metrics: asked.into_iter().flat_map(figures).collect(),
        ..OrcaLoadReport::default()
    }
}

/// The report of the model that was asked. What it does not say is zero, which means "not said" for every figure but a
/// load; what is no number is not said.
#[must_use]
pub fn from_orca(orca: &OrcaLoadReport) -> LoadReport {
    let mut report = LoadReport::default();
    for (name, _, set) in &FIGURES {
        if let Some(value) = orca.named_metrics.get(*name).filter(|value| value.is_finite()) {
            set(&mut report, *value);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Every field has a number of its own, so that no two can be mistaken for each other.
    fn report() -> LoadReport {
        let limits = Limits {
            max_batch_tokens: 21,
            max_items: 22,
            max_message_bytes: 1 << 40,
            max_text_bytes: 24,
            max_queue_tokens: 25,
            cuts_jobs: true,
        };
        LoadReport {
            epoch: 1 << 52,
            queue_wait_ms: 2.5,
            busy: 0.25,
            queued_tokens: 4,
            running_tokens: 5,
            a_ms: 6.5,
            b_us: 7.5,
            knee_tokens: 8,
            rate_tokens_per_second: 9.5,
            limits: Some(limits),
            state: 3,
            overdue: 12.5,
            served_tokens_per_second: 13.5,
        }
    }

    #[test]
    fn a_report_comes_back_as_it_went() {
        let bytes = to_orca(None, Some(&report())).encode_to_vec();
        assert_eq!(from_orca(&OrcaLoadReport::decode(bytes.as_slice()).unwrap()), report());
        let nothing = LoadReport::default();
        assert_eq!(from_orca(&to_orca(None, Some(&nothing))), nothing);
    }

    /// A field that is added to the message and not to the table would be lost on the way without a word.
    #[test]
    fn every_field_of_the_message_has_a_figure() {
        let pool = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
        let messages = pool.file.iter().flat_map(|file| &file.message_type);
        let mut fields: Vec<String> = messages
            .filter(|message| ["LoadReport", "Limits"].contains(&message.name()))
            .flat_map(|message| &message.field)
            .map(|field| field.name().to_owned())
            .filter(|name| name != "limits")
            .collect();
        let mut figures: Vec<String> = FIGURES.iter().map(|(name, ..)| name.replacen("sortie.", "", 1)).collect();
        fields.sort();
        figures.sort();
        assert_eq!(figures, fields);
    }

    #[test]
    fn nonsense_is_not_said() {
        let mut orca = to_orca(None, Some(&report()));
        orca.named_metrics.insert("sortie.a_ms".to_owned(), f64::NAN);
        orca.named_metrics.insert("sortie.epoch".to_owned(), -1.0);
        orca.named_metrics.insert("sortie.unheard_of".to_owned(), 1.0);
        orca.named_metrics.insert("sortie.max_items".to_owned(), f64::INFINITY);
        let read = from_orca(&orca);
        assert_eq!((read.a_ms, read.epoch, read.limits.map(|limits| limits.max_items)), (0.0, 0, Some(0)));
    }

    /// As gRPC and Envoy weigh a server (gRFC A58), with the penalty that they have by default.
    fn weight(load: ProcessLoad) -> f64 {
        load.served / (load.utilization + load.failed / load.served)
    }

    fn model(busy: f32, rate: f32, queue_wait_ms: f32) -> LoadReport {
        LoadReport {
            busy,
            rate_tokens_per_second: rate,
            served_tokens_per_second: busy * rate,
            queue_wait_ms,
            state: ModelState::Ready.into(),
            ..LoadReport::default()
        }
    }

    fn weight_of(models: &[LoadReport]) -> f64 {
        weight(ProcessLoad::of(models, 0.0).unwrap())
    }

    #[test]
    fn an_idle_server_weighs_what_it_can_do() {
        for busy in [0.0, 0.004, 0.2, 1.0] {
            let weight = weight_of(&[model(busy, 40_000.0, 0.0)]);
            assert!((weight / 40_000.0 - 1.0).abs() < 1e-4, "{busy}: {weight}");
        }
        let (fast, slow) = (weight_of(&[model(0.3, 40_000.0, 0.0)]), weight_of(&[model(0.9, 10_000.0, 0.0)]));
        assert!((fast / slow - 4.0).abs() < 1e-3, "{fast} and {slow}");
    }

    #[test]
    fn a_queue_takes_weight_off() {
        let waits = [0.0, 50.0, 200.0, 1_000.0].map(|ms| weight_of(&[model(1.0, 40_000.0, ms)]));
        assert!(waits.windows(2).all(|pair| pair[1] < pair[0]), "{waits:?}");
        assert!((waits[0] / waits[2] - 2.0).abs() < 1e-3);
    }

    #[test]
    fn models_count_together_and_those_that_take_no_work_not_at_all() {
        let mut loading = model(0.0, 90_000.0, 900.0);
        loading.set_state(ModelState::Loading);
        let one = ProcessLoad::of(&[model(0.5, 40_000.0, 0.0), loading], 0.0).unwrap();
        assert_eq!(one, ProcessLoad::of(&[model(0.5, 40_000.0, 0.0)], 0.0).unwrap());
        let two = ProcessLoad::of(&[model(0.5, 40_000.0, 0.0), model(0.25, 20_000.0, 0.0)], 0.0).unwrap();
        assert_eq!((two.utilization, two.served), (0.75, 25_000.0));
        assert_eq!(ProcessLoad::of(&[loading], 0.0), None);
        assert_eq!(ProcessLoad::of(&[], 0.0), None);
    }

    #[test]
    fn failures_take_weight_off_and_never_all_of_it() {
        let of = |share| weight(ProcessLoad::of(&[model(0.5, 40_000.0, 0.0)], share).unwrap());
        assert!((of(0.0) / of(1.0 / 3.0) - 2.0).abs() < 1e-6, "as many failed as half of those that did not");
        assert!(of(1.0) > 0.0 && of(1.0) < of(0.5) && of(f64::INFINITY) == of(1.0));
    }
}
