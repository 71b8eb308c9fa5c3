//! Suspects, ejected servers, servers that come and go.

use std::time::Duration;

use sortie_dispatch::{
    AnswerReport, BatchSample, DispatchConfig, EndpointId, Event, Failure, Fleet, FleetAction, FleetEvent, JobOptions,
    LoadReport, ModelId, ProbePurpose, Resource,
};

use crate::bench::{Bench, DEADLINE, answered, at, failed, fleet_probes, idle, queue_wait_of, wake};

/// A job on four servers whose first attempt is late, and its server.
fn suspecting() -> (Bench, EndpointId, sortie_dispatch::Time) {
    let mut bench = Bench::new(4, DispatchConfig::default());
    let (sends, rest) = bench.handle(at(0), Event::Start);
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let then = wake(&rest);
    bench.handle(then, Event::Tick);
    (bench, sends[0].endpoint, then)
}

#[test]
fn a_suspect_gets_nothing_until_its_probe_is_answered() {
    let (mut bench, suspect, then) = suspecting();
    assert!(bench.stats(suspect, then).suspect);
    assert_eq!(bench.share_of(suspect, then), 0);
    let actions = bench.tick(then);
    let asked = fleet_probes(&actions);
    assert_eq!(asked.iter().map(|(_, endpoint)| *endpoint).collect::<Vec<_>>(), [suspect]);
    assert!(matches!(actions[0], FleetAction::Probe { purpose: ProbePurpose::Suspect, .. }));
    // Only one probe is out at a time.
    assert!(fleet_probes(&bench.tick(then + Duration::from_millis(1))).is_empty());
    let later = then + Duration::from_millis(150);
    bench.fleet.handle(later, FleetEvent::ProbeAnswered { probe: asked[0].0, report: queue_wait_of(0) });
    assert!(!bench.stats(suspect, later).suspect);
}

#[test]
fn a_suspect_whose_batch_is_overdue_stays_one() {
    let (mut bench, suspect, then) = suspecting();
    let asked = fleet_probes(&bench.tick(then));
    let stuck = LoadReport { overdue: 9.0, ..queue_wait_of(0) };
    let actions = bench.fleet.handle(then, FleetEvent::ProbeAnswered { probe: asked[0].0, report: stuck });
    assert!(bench.stats(suspect, then).suspect);
    let FleetAction::WakeAt(again) = actions[actions.len() - 1] else { unreachable!("{actions:?}") };
    assert_eq!(again, then + DispatchConfig::default().health.probe_again);
    assert_eq!(fleet_probes(&bench.tick(again)).len(), 1, "it is asked again");
}

#[test]
fn a_lost_probe_is_sent_again() {
    let (mut bench, _, then) = suspecting();
    assert_eq!(fleet_probes(&bench.tick(then)).len(), 1);
    let again = then + DispatchConfig::default().health.probe_timeout;
    assert_eq!(fleet_probes(&bench.tick(again)).len(), 1);
}

#[test]
fn an_old_server_that_knows_no_probes_is_alive_all_the_same() {
    let (mut bench, suspect, then) = suspecting();
    let asked = fleet_probes(&bench.tick(then));
    bench.fleet.handle(then, FleetEvent::ProbeFailed { probe: asked[0].0, failure: Failure::Fatal });
    assert!(!bench.stats(suspect, then).suspect);
}

#[test]
fn any_answer_lifts_suspicion() {
    let mut bench = Bench::new(4, DispatchConfig::default());
    let (sends, rest) = bench.handle(at(0), Event::Start);
    let then = wake(&rest);
    bench.handle(then, Event::Tick);
    assert!(bench.stats(sends[1].endpoint, then).suspect);
    bench.handle(then, answered(sends[1].attempt));
    assert!(!bench.stats(sends[1].endpoint, then).suspect);
}

/// When most of the fleet is suspect it is the network, and nobody else is better.
#[test]
fn more_than_half_of_the_fleet_under_suspicion_is_no_suspicion() {
    let mut bench = Bench::new(4, DispatchConfig::default());
    let (_, rest) = bench.handle(at(0), Event::Start);
    let then = wake(&rest);
    bench.handle(then, Event::Tick);
    let later = wake(&bench.handle(then + Duration::from_secs(1), Event::Tick).1);
    let suspects = bench.fleet.stats(later).filter(|stats| stats.suspect).count();
    assert_eq!(suspects, 4);
    let shares: Vec<_> = (0..4).map(|id| bench.share_of(EndpointId(id), later)).collect();
    assert!(shares.iter().filter(|&&share| share > 0).count() >= 2, "{shares:?}");
}

fn fleet(servers: usize) -> (Fleet, ModelId) {
    let mut fleet = Fleet::new(DispatchConfig::default(), servers, 1);
    let model = fleet.model("m", Resource::Device);
    (0..servers as u32).for_each(|id| fleet.report(EndpointId(id), model, queue_wait_of(0), at(0)));
    (fleet, model)
}

/// Jobs, one after the other; those chunks that go to a server fail.
fn fail_at(bench: Bench, bad: EndpointId, jobs: u64) -> Bench {
    let mut bench = bench;
    for job in 0..jobs {
        let now = at(10 * job);
        bench = Bench::on(bench.fleet, bench.model, 200, now, JobOptions::by(now + DEADLINE));
        let (mut sends, _) = bench.handle(now, Event::Start);
        while let Some(send) = sends.pop() {
            let event =
                if send.endpoint == bad { failed(send.attempt, Failure::Internal) } else { answered(send.attempt) };
            sends.extend(bench.handle(now, event).0);
        }
    }
    bench
}

#[test]
fn failures_eject_and_a_probe_and_an_answer_bring_back() {
    let (fleet, model) = fleet(4);
    let bad = EndpointId(2);
    let bench = Bench::on(fleet, model, 200, at(0), JobOptions::by(at(0) + DEADLINE));
    let mut bench = fail_at(bench, bad, 40);
    assert!(bench.stats(bad, at(400)).ejected);
    assert_eq!(bench.fleet.counters().ejected_failing, 1);
    assert_eq!(bench.share_of(bad, at(400)), 0);

    let FleetAction::WakeAt(then) = bench.tick(at(400))[0] else { unreachable!() };
    let actions = bench.tick(then);
    assert!(matches!(actions[0], FleetAction::Probe { purpose: ProbePurpose::HalfOpen, .. }));
    let probe = fleet_probes(&actions)[0].0;
    bench.fleet.handle(then, FleetEvent::ProbeAnswered { probe, report: queue_wait_of(0) });
    assert!(!bench.stats(bad, then).ejected);
    // On trial: one attempt at a time, and its answer ends the matter.
    assert!(bench.share_of(bad, then) > 0);
    bench = Bench::on(bench.fleet, model, 200, then, JobOptions::by(then + DEADLINE));
    let (sends, _) = bench.handle(then, Event::Start);
    assert!(sends.iter().any(|send| send.endpoint == bad));
    assert_eq!(bench.share_of(bad, then), 0, "one attempt is out");
    for send in sends {
        bench.handle(then, answered(send.attempt));
    }
    assert!(bench.share_of(bad, then) > 0);
}

#[test]
fn no_more_are_ejected_than_the_fleet_can_do_without() {
    let (fleet, model) = fleet(10);
    let mut bench = Bench::on(fleet, model, 400, at(0), JobOptions::by(at(0) + DEADLINE));
    for job in 0..80 {
        let now = at(10 * job);
        bench = Bench::on(bench.fleet, model, 400, now, JobOptions::by(now + DEADLINE));
        let (mut sends, _) = bench.handle(now, Event::Start);
        while let Some(send) = sends.pop() {
            // Half of the fleet is broken.
            let event =
                if send.endpoint.0 < 5 { failed(send.attempt, Failure::Internal) } else { answered(send.attempt) };
            sends.extend(bench.handle(now, event).0);
        }
        let ejected = bench.fleet.stats(now).filter(|stats| stats.ejected).count();
        assert!(ejected <= 2, "{ejected}");
    }
    assert_eq!(bench.fleet.stats(at(800)).filter(|stats| stats.ejected).count(), 2);
}

#[test]
fn of_two_servers_none_is_ejected() {
    let (fleet, model) = fleet(2);
    let bench = Bench::on(fleet, model, 200, at(0), JobOptions::by(at(0) + DEADLINE));
    let bench = fail_at(bench, EndpointId(1), 40);
    assert!(!bench.stats(EndpointId(1), at(400)).ejected);
}

#[test]
fn a_slow_server_is_ejected_by_its_batches_once_it_has_been_slow_for_a_second() {
    let (fleet, model) = fleet(4);
    let mut bench = Bench::on(fleet, model, 200, at(0), JobOptions::by(at(0) + DEADLINE));
    let cost = DispatchConfig::default().cost.prior;
    let mut ejected_at = None;
    for job in 0..60 {
        let now = at(50 * job);
        bench = Bench::on(bench.fleet, model, 200, now, JobOptions::by(now + DEADLINE));
        for send in bench.handle(now, Event::Start).0 {
            let slow = if send.endpoint == EndpointId(0) { 4.0 } else { 1.0 };
            let batches = vec![BatchSample { us: slow * cost.batch_us(4_000.0), work: 4_000.0 }];
            let answer = AnswerReport { batches, ..AnswerReport::default() };
            bench.handle(now, Event::Answered { attempt: send.attempt, answer });
        }
        if bench.stats(EndpointId(0), now).ejected {
            ejected_at.get_or_insert(50 * job);
        }
    }
    assert!(ejected_at.is_some_and(|ms| ms >= 1_000), "{ejected_at:?}");
    assert_eq!(bench.fleet.counters().ejected_slow, 1);
}

#[test]
fn an_unknown_server_has_a_few_attempts_at_most_until_it_answers() {
    let (mut fleet, model) = fleet(3);
    let cap = fleet.config().place.unknown_in_flight;
    let new = fleet.add(at(10));
    let mut benches: Vec<(Bench, Vec<sortie_dispatch::SendAttempt>)> = Vec::new();
    let mut live = 0;
    let mut fleet = Some(fleet);
    for _ in 0..20 {
        let mut bench = Bench::on(fleet.take().unwrap(), model, 200, at(11), JobOptions::by(at(11) + DEADLINE));
        let (sends, _) = bench.handle(at(11), Event::Start);
        live += sends.iter().filter(|send| send.endpoint == new).count();
        // The fleet goes on to the next job; this one stays open.
        fleet = Some(std::mem::replace(&mut bench.fleet, Fleet::new(DispatchConfig::default(), 0, 0)));
        benches.push((bench, sends));
    }
    assert_eq!(live, cap as usize);
}

#[test]
fn a_new_server_is_greeted_and_gone_ones_are_forgotten() {
    let (mut fleet, _) = fleet(3);
    let new = fleet.add(at(10));
    let actions = fleet.handle(at(10), FleetEvent::Tick);
    assert!(
        matches!(actions[0], FleetAction::Probe { endpoint, purpose: ProbePurpose::Joined, .. } if endpoint == new)
    );
    fleet.handle(at(11), FleetEvent::ProbeAnswered { probe: fleet_probes(&actions)[0].0, report: queue_wait_of(0) });
    fleet.handle(at(12), FleetEvent::Removed(EndpointId(0)));
    let left: Vec<_> = fleet.stats(at(12)).map(|stats| stats.endpoint.0).collect();
    assert_eq!(left, [1, 2, 3]);
}

#[test]
fn a_connection_that_stands_again_makes_its_server_ready_at_once() {
    let (mut fleet, _) = fleet(3);
    fleet.handle(at(0), FleetEvent::Disconnected(EndpointId(1)));
    let ready = |fleet: &Fleet| fleet.stats(at(1)).nth(1).unwrap().ready;
    assert!(!ready(&fleet));
    fleet.handle(at(1), FleetEvent::Connected(EndpointId(1)));
    assert!(ready(&fleet));
}

#[test]
fn a_draining_server_gets_nothing_new() {
    let (mut fleet, model) = fleet(3);
    let draining = LoadReport { draining: true, ..idle(DispatchConfig::default().cost.prior) };
    fleet.report(EndpointId(1), model, draining, at(1));
    let mut bench = Bench::on(fleet, model, 200, at(2), JobOptions::by(at(2) + DEADLINE));
    assert!(bench.handle(at(2), Event::Start).0.iter().all(|send| send.endpoint != EndpointId(1)));
}

/// Suspicion must not outlive its server: a fleet that changes all the time would come to ignore it.
#[test]
fn a_suspect_that_is_removed_is_no_suspect() {
    let (mut bench, suspect, then) = suspecting();
    bench.fleet.handle(then, FleetEvent::Removed(suspect));
    let actions = bench.tick(then);
    assert!(fleet_probes(&actions).is_empty(), "{actions:?}");
}
