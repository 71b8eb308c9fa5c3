//! The load report in ORCA's form (gRFC A51), both ways.
//!
//! `application_utilization` is the busy share. Every other number of a [`LoadReport`] is in `named_metrics` under
//! `sortie.` and its name, from one table: what one side writes the other side reads.

use crate::{
    orca::OrcaLoadReport,
    v1::{Limits, LoadReport},
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

/// Every figure but the busy share. Whole numbers up to 2⁵³ are exact in a double; epochs and limits stay below.
const FIGURES: [Figure; 17] = [
    field!(epoch as u64),
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

/// The report in ORCA's form.
#[must_use]
pub fn to_orca(report: &LoadReport) -> OrcaLoadReport {
    OrcaLoadReport {
        application_utilization: f64::from(report.busy),
        named_metrics: FIGURES.iter().map(|(name, get, _)| ((*name).to_owned(), get(report))).collect(),
        ..OrcaLoadReport::default()
    }
}

/// The report that ORCA's form holds. What it does not say is zero, which means "not said" for every figure but a
/// load; what is no number is not said.
#[must_use]
pub fn from_orca(orca: &OrcaLoadReport) -> LoadReport {
    let mut report = LoadReport { busy: orca.application_utilization as f32, ..LoadReport::default() };
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
        let bytes = to_orca(&report()).encode_to_vec();
        assert_eq!(from_orca(&OrcaLoadReport::decode(bytes.as_slice()).unwrap()), report());
        let nothing = LoadReport::default();
        assert_eq!(from_orca(&to_orca(&nothing)), nothing);
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
            .filter(|name| !["busy", "limits"].contains(&name.as_str()))
            .collect();
        let mut figures: Vec<String> = FIGURES.iter().map(|(name, ..)| name.replacen("sortie.", "", 1)).collect();
        fields.sort();
        figures.sort();
        assert_eq!(figures, fields);
    }

    #[test]
    fn nonsense_is_not_said() {
        let mut orca = to_orca(&report());
        orca.named_metrics.insert("sortie.a_ms".to_owned(), f64::NAN);
        orca.named_metrics.insert("sortie.epoch".to_owned(), -1.0);
        orca.named_metrics.insert("sortie.unheard_of".to_owned(), 1.0);
        orca.named_metrics.insert("sortie.max_items".to_owned(), f64::INFINITY);
        let read = from_orca(&orca);
        assert_eq!((read.a_ms, read.epoch, read.limits.map(|limits| limits.max_items)), (0.0, 0, Some(0)));
    }
}
