//! What several servers say of one model, as one.

use sortie_proto::v1;

/// Lists of any length are cut by the gateway.
const MAX_ITEMS: u32 = u32::MAX;

/// The load of all together, as a server with several devices tells it: tokens and rates are sums, the rest are means.
/// Whoever cannot be asked is not counted. `epoch` is the gateway's own.
pub(super) fn merged_load(reports: &[v1::LoadReport], epoch: u64, max_message_bytes: u64) -> v1::LoadReport {
    let sum = |of: fn(&v1::LoadReport) -> u64| reports.iter().map(of).fold(0, u64::saturating_add);
    let total = |of: fn(&v1::LoadReport) -> f32| reports.iter().map(of).sum::<f32>();
    let mean = |of: fn(&v1::LoadReport) -> f32| total(of) / reports.len().max(1) as f32;
    let limits = || reports.iter().filter_map(|report| report.limits.as_ref());
    let states = || reports.iter().map(v1::LoadReport::state);
    let state = states().find(|state| *state == v1::ModelState::Ready).or_else(|| states().next());
    v1::LoadReport {
        epoch,
        queue_wait_ms: mean(|report| report.queue_wait_ms),
        busy: mean(|report| report.busy),
        queued_tokens: sum(|report| report.queued_tokens),
        running_tokens: sum(|report| report.running_tokens),
        a_ms: mean(|report| report.a_ms),
        b_us: mean(|report| report.b_us),
        knee_tokens: reports.iter().map(|report| report.knee_tokens).max().unwrap_or_default(),
        rate_tokens_per_second: total(|report| report.rate_tokens_per_second),
        limits: Some(v1::Limits {
            max_batch_tokens: limits().map(|limits| limits.max_batch_tokens).min().unwrap_or_default(),
            max_items: MAX_ITEMS,
            max_message_bytes,
            max_text_bytes: limits().map(|limits| limits.max_text_bytes).min().unwrap_or_default(),
            max_queue_tokens: limits().map(|limits| limits.max_queue_tokens).fold(0, u64::saturating_add),
            cuts_jobs: true,
        }),
        state: state.unwrap_or(v1::ModelState::Failed).into(),
        overdue: mean(|report| report.overdue),
        served_tokens_per_second: total(|report| report.served_tokens_per_second),
    }
}

/// One description: that of most servers by revision, the first of equals, with the devices and engines of all.
pub(super) fn merged_model(infos: Vec<v1::ModelInfo>, load: &v1::LoadReport) -> Option<v1::ModelInfo> {
    let with = |revision: &str| infos.iter().filter(|info| info.revision == revision).count();
    // The first of those that are most: `max_by_key` gives the last.
    let most = infos.iter().rev().max_by_key(|info| with(&info.revision))?;
    let mut merged = most.clone();
    let listed = |of: fn(&v1::ModelInfo) -> &str| {
        let mut words: Vec<&str> = infos.iter().map(of).filter(|word| !word.is_empty()).collect();
        words.sort_unstable();
        words.dedup();
        words.join(",")
    };
    merged.engine = listed(|info| &info.engine);
    merged.device = listed(|info| &info.device);
    merged.precision = listed(|info| &info.precision);
    (merged.limits, merged.state) = (load.limits, load.state);
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(queued: u64, wait: f32, state: v1::ModelState) -> v1::LoadReport {
        let limits = v1::Limits { max_batch_tokens: 64, max_queue_tokens: 1_000, ..v1::Limits::default() };
        let mut report = v1::LoadReport { queued_tokens: queued, queue_wait_ms: wait, b_us: 2.0, ..Default::default() };
        (report.rate_tokens_per_second, report.limits) = (500.0, Some(limits));
        report.set_state(state);
        report
    }

    #[test]
    fn a_fleet_reports_as_a_server_with_several_devices() {
        let load = merged_load(
            &[report(10, 1.0, v1::ModelState::Draining), report(30, 3.0, v1::ModelState::Ready)],
            7,
            1 << 20,
        );
        assert_eq!((load.epoch, load.queued_tokens, load.state()), (7, 40, v1::ModelState::Ready));
        assert_eq!((load.queue_wait_ms, load.b_us, load.rate_tokens_per_second), (2.0, 2.0, 1_000.0));
        let limits = load.limits.unwrap();
        assert_eq!((limits.max_batch_tokens, limits.max_queue_tokens), (64, 2_000));
        assert!(limits.cuts_jobs && limits.max_message_bytes == 1 << 20);
        assert_eq!(merged_load(&[], 7, 1).state(), v1::ModelState::Failed, "nobody answered");
    }

    #[test]
    fn a_model_is_described_by_most_of_its_servers() {
        let info = |revision: &str, device: &str| v1::ModelInfo {
            revision: revision.to_owned(),
            device: device.to_owned(),
            ..v1::ModelInfo::default()
        };
        let infos = vec![info("old", "cpu"), info("new", "cuda:0"), info("new", "cpu")];
        let merged = merged_model(infos, &v1::LoadReport::default()).unwrap();
        assert_eq!((merged.revision.as_str(), merged.device.as_str()), ("new", "cpu,cuda:0"));
        let merged = merged_model(vec![info("a", ""), info("b", "")], &v1::LoadReport::default()).unwrap();
        assert_eq!(merged.revision, "a");
        assert!(merged_model(Vec::new(), &v1::LoadReport::default()).is_none());
    }
}
