//! `xds.service.orca.v3.OpenRcaService`: load reports as a stream (gRFC A51), for balancers that do not read trailers, or
//! send too little to a server to see many.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use sortie_proto::orca::{
    OrcaLoadReport, OrcaLoadReportRequest,
    open_rca_service_server::{OpenRcaService, OpenRcaServiceServer},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::LoadReports;

/// Time between two reports where none is asked for: a queue fills and empties within seconds.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Least time between two reports, whatever is asked for: ten a second tell all that a scheduler's figures do, whose shares
/// are of the last second.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// The service.
#[derive(Debug)]
pub(crate) struct OrcaStream {
    reports: LoadReports,
    /// Streams end once the process leaves: one that stays open would hold its connection.
    leaving: CancellationToken,
}

impl OrcaStream {
    pub(crate) fn service(reports: LoadReports, leaving: CancellationToken) -> OpenRcaServiceServer<Self> {
        OpenRcaServiceServer::new(Self { reports, leaving })
    }
}

#[tonic::async_trait]
impl OpenRcaService for OrcaStream {
    type StreamCoreMetricsStream = Pin<Box<dyn Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;

    async fn stream_core_metrics(
        &self,
        request: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let mut ticks = interval(period(request.get_ref()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reports = self.reports.clone();
        let reports = stream::unfold((ticks, reports), |(mut ticks, reports)| async move {
            ticks.tick().await;
            let report = reports.report(None);
            Some((Ok(report), (ticks, reports)))
        });
        Ok(Response::new(Box::pin(reports.take_until(self.leaving.clone().cancelled_owned()))))
    }
}

/// Time between two reports: what is asked for, within reason.
fn period(request: &OrcaLoadReportRequest) -> Duration {
    let asked =
        request.report_interval.and_then(|asked| Duration::try_from(asked).ok()).filter(|asked| !asked.is_zero());
    asked.unwrap_or(DEFAULT_INTERVAL).max(LEAST_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_what_is_asked_for_within_reason() {
        let of = |seconds, nanos| {
            let report_interval = Some(prost_types::Duration { seconds, nanos });
            period(&OrcaLoadReportRequest { report_interval, ..Default::default() })
        };
        assert_eq!(period(&OrcaLoadReportRequest::default()), DEFAULT_INTERVAL);
        assert_eq!(of(0, 0), DEFAULT_INTERVAL);
        assert_eq!(of(-3, 0), DEFAULT_INTERVAL);
        assert_eq!(of(0, 1), LEAST_INTERVAL);
        assert_eq!(of(10, 500_000_000), Duration::from_millis(10_500));
    }
}
