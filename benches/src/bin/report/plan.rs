//! The cells of the report: a fixed subset of all that could be measured.

use sortie_benches::envoy::EnvoyPolicy;
use sortie_lab::Strategy;
use xtask::report::data::ReportPart;

use crate::{contender::Contender, trouble::Trouble, work::WorkShape};

/// Jobs of a row whose p99.9 is shown: ten jobs are slower.
const TAIL_JOBS: f64 = 10_000.0;

/// Jobs of a row whose p99 is: fifteen are slower.
const SHORT_JOBS: f64 = 1_500.0;

/// The load of most rows: servers are busy, and one that is slow still has less than it can do on its own.
const LOAD: f64 = 0.6;

/// Guards a second: what a chat product asks of four servers, and next to nothing for them.
const GUARDS: f64 = 150.0;

/// Other loads, from nearly idle to a flood.
const LOADS: [f64; 5] = [0.3, 0.8, 0.95, 1.5, 4.0];

/// Who sends to a fleet, and through what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FleetSender {
    /// One of the strategies of `sortie bench`, straight to the servers.
    Direct(Strategy),
    /// Whole jobs by gRPC through Envoy.
    Envoy(EnvoyPolicy),
    /// Whole jobs by HTTP through our gateway.
    Gateway,
    /// A client in Python that cuts by count, through Envoy's round robin over HTTP.
    Splitter(&'static str),
}

impl FleetSender {
    /// What rows call it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Direct(Strategy::Sortie) => "sortie".to_owned(),
            Self::Direct(Strategy::Naive) => "fixed split".to_owned(),
            Self::Direct(Strategy::Whole) => "whole".to_owned(),
            Self::Direct(Strategy::P2cHedge) => "two choices + hedge".to_owned(),
            Self::Direct(other) => other.name().to_owned(),
            Self::Envoy(EnvoyPolicy::RoundRobin) => "whole, Envoy round robin".to_owned(),
            Self::Envoy(EnvoyPolicy::LeastRequest) => "whole, Envoy least request".to_owned(),
            Self::Envoy(EnvoyPolicy::Weighted) => "whole, Envoy weighted by our reports".to_owned(),
            Self::Gateway => "gateway".to_owned(),
            Self::Splitter(kind) => format!("{kind} split, Envoy round robin"),
        }
    }
}

/// How much is offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OfferedLoad {
    /// A share of what the servers can do.
    Share(f64),
    /// Jobs a second.
    Rate(f64),
    /// So many callers of a closed loop.
    Callers(u32),
}

impl OfferedLoad {
    /// As rows say it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Share(share) => share.to_string(),
            Self::Rate(rate) => format!("{rate} a second"),
            Self::Callers(1) => "one at a time".to_owned(),
            Self::Callers(callers) => format!("{callers} callers"),
        }
    }
}

/// Who is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measure {
    /// Senders to four timed servers.
    Fleet(FleetSender),
    /// One server of a real model.
    Model(Contender),
    /// Processes and the simulator.
    Simulated,
    /// The simulator alone, on a fleet that nobody has at hand.
    Vast,
}

/// A row to be measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedCell {
    pub(crate) part: ReportPart,
    pub(crate) work: WorkShape,
    pub(crate) trouble: Trouble,
    pub(crate) load: OfferedLoad,
    pub(crate) measure: Measure,
    /// Jobs aimed at, of open loops.
    pub(crate) jobs: f64,
}

impl PlannedCell {
    /// Who is measured, as rows say it.
    pub(crate) fn system(&self) -> String {
        match &self.measure {
            Measure::Fleet(sender) => sender.name(),
            Measure::Model(contender) => contender.name().to_owned(),
            Measure::Simulated | Measure::Vast => "simulator".to_owned(),
        }
    }
}

/// All of it, in the order of the report. Of models all contenders, whether they can be had here or not.
pub(crate) fn plan(contenders: &[Contender]) -> Vec<PlannedCell> {
    let mut all = Vec::new();
    let mut add = |part, work, trouble, load, measure, jobs| {
        all.push(PlannedCell { part, work, trouble, load, measure, jobs });
    };
    let direct = |strategy| Measure::Fleet(FleetSender::Direct(strategy));
    let share = OfferedLoad::Share(LOAD);
    for trouble in [Trouble::None, Trouble::Slow, Trouble::Stalls] {
        // Half an hour has room for two long rows of each; the other two ways are told from them by a p99 already.
        for (strategy, jobs) in [
            (Strategy::Sortie, TAIL_JOBS),
            (Strategy::P2cHedge, TAIL_JOBS),
            (Strategy::Naive, SHORT_JOBS),
            (Strategy::Whole, SHORT_JOBS),
        ] {
            add(ReportPart::Tails, WorkShape::Rerank200, trouble, share, direct(strategy), jobs);
        }
    }
    for trouble in [Trouble::Kill, Trouble::Rolling, Trouble::Neighbour, Trouble::Netem] {
        for strategy in [Strategy::Sortie, Strategy::Whole] {
            add(ReportPart::Tails, WorkShape::Rerank200, trouble, share, direct(strategy), SHORT_JOBS);
        }
    }
    for load in LOADS.map(OfferedLoad::Share) {
        for strategy in [Strategy::Sortie, Strategy::Whole] {
            add(ReportPart::Loads, WorkShape::Rerank200, Trouble::None, load, direct(strategy), SHORT_JOBS);
        }
    }
    for work in [WorkShape::Rerank1000Short, WorkShape::Rerank20Long] {
        for strategy in [Strategy::Sortie, Strategy::Naive, Strategy::Whole] {
            add(ReportPart::Shapes, work, Trouble::None, share, direct(strategy), SHORT_JOBS);
        }
    }
    for work in [WorkShape::ClassifyGuard, WorkShape::Mixed] {
        for strategy in [Strategy::Sortie, Strategy::Whole] {
            let load = OfferedLoad::Rate(GUARDS);
            add(ReportPart::Shapes, work, Trouble::None, load, direct(strategy), SHORT_JOBS);
        }
    }
    let policies = [EnvoyPolicy::RoundRobin, EnvoyPolicy::LeastRequest, EnvoyPolicy::Weighted];
    let senders = [FleetSender::Direct(Strategy::Sortie), FleetSender::Gateway].into_iter();
    let senders =
        senders.chain(policies.map(FleetSender::Envoy)).chain(["asyncio", "baseten"].map(FleetSender::Splitter));
    let senders: Vec<FleetSender> = senders.collect();
    for trouble in [Trouble::None, Trouble::Slow] {
        for &sender in &senders {
            let measure = Measure::Fleet(sender);
            add(ReportPart::Between, WorkShape::Rerank200, trouble, share, measure, SHORT_JOBS);
        }
    }
    // What one contender does for one task comes in a row: it is started once.
    for contender in contenders {
        for (work, callers) in [
            (WorkShape::Rerank200, 1),
            (WorkShape::EmbedBulk, 1),
            (WorkShape::EmbedSingle, 1),
            (WorkShape::EmbedSingle, 8),
        ] {
            let (load, measure) = (OfferedLoad::Callers(callers), Measure::Model(contender.clone()));
            add(ReportPart::Models, work, Trouble::None, load, measure, 0.0);
        }
    }
    for (work, trouble, load) in [
        (WorkShape::Rerank200, Trouble::None, 0.3),
        (WorkShape::Rerank200, Trouble::None, 0.6),
        (WorkShape::Rerank200, Trouble::None, 0.8),
        (WorkShape::Rerank200, Trouble::Slow, 0.6),
        (WorkShape::Rerank200, Trouble::Stalls, 0.6),
        (WorkShape::Rerank20Long, Trouble::None, 0.6),
    ] {
        add(ReportPart::Simulated, work, trouble, OfferedLoad::Share(load), Measure::Simulated, SHORT_JOBS);
    }
    add(ReportPart::Simulated, WorkShape::Rerank200, Trouble::Stalls, OfferedLoad::Share(0.7), Measure::Vast, 0.0);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_one_and_tails_are_of_enough_jobs() {
        let plan = plan(&Contender::packaged());
        let key = |cell: &PlannedCell| {
            format!("{:?}{:?}{:?}{:?}{:?}", cell.part, cell.work, cell.trouble, cell.load, cell.measure)
        };
        assert_eq!(plan.iter().map(key).collect::<BTreeSet<_>>().len(), plan.len());
        let sure = [Trouble::None, Trouble::Slow, Trouble::Stalls];
        let compared = [Strategy::Sortie, Strategy::P2cHedge].map(|way| Measure::Fleet(FleetSender::Direct(way)));
        let tails = |cell: &&PlannedCell| {
            cell.part == ReportPart::Tails && sure.contains(&cell.trouble) && compared.contains(&cell.measure)
        };
        assert_eq!(plan.iter().filter(tails).filter(|cell| cell.jobs >= 10_000.0).count(), 6);
    }
}
