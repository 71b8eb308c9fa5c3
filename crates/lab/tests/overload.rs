//! What `sortie-sim overload` shows, at a small size.

use std::time::Duration;

use sortie_lab::{
    Strategy,
    sim::{Scenario, Surge, run},
    stats::JobEnd,
    study::{Callers, OverloadRow, RunBudget, Shape, Sweep, fair, overload, overload_missed},
};

const EFFORT: RunBudget = RunBudget { seeds: 1, seconds: 0.0, jobs: 400, threads: 2 };

fn sweep(device: &str, servers: usize, loads: &[f64]) -> Option<Vec<OverloadRow>> {
    let shapes = Shape::all().into_iter().filter(|shape| shape.name == device).collect();
    let (callers, loads) = (Callers::ALL.to_vec(), loads.to_vec());
    overload(&Sweep { shapes, jobs: vec!["small"], fleets: vec![servers], callers, loads }, EFFORT).ok()
}

#[test]
fn below_capacity_nothing_is_missed() {
    for device in ["slow", "fast"] {
        let missed = overload_missed(&sweep(device, 4, &[0.7]).unwrap());
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

#[test]
fn beyond_it_the_device_stays_busy_with_what_is_in_time() {
    for (device, servers, load) in [("slow", 1, 4.0), ("slow", 4, 2.0), ("fast", 4, 8.0)] {
        for row in sweep(device, servers, &[load]).unwrap() {
            // Three of four are refused, or more, whoever asks; of what was admitted next to nothing is late.
            let most = if row.of.is_none() { 1.0 } else { fair(load, row.share) * 2.0 };
            assert!(row.goodput <= most * 1.05, "{row:?}");
            assert!(row.took[1] <= 1.0 && row.late <= 0.02, "{row:?}");
            if row.of.is_none() {
                assert!(row.goodput >= 0.95 && row.took[0] <= 0.55, "{row:?}");
            }
            match row.callers {
                "no-retry" => assert!((row.calls - 1.0).abs() < 1e-9 && row.refused_after < 0.01, "{row:?}"),
                "sortie" => assert!(row.calls <= 1.2, "{row:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_fair_part_is_what_is_asked_for_or_what_the_other_leaves_or_half() {
    for (load, share, part) in [(0.5, 0.7, 0.35), (1.2, 0.7, 0.64), (1.2, 0.3, 0.36), (4.0, 0.7, 0.5), (9.0, 0.3, 0.5)]
    {
        assert!((fair(load, share) - part).abs() < 1e-9, "{load} {share}: {}", fair(load, share));
    }
}

#[test]
fn every_job_ends_once_and_a_surge_is_one() {
    let ms = Duration::from_millis;
    let scenario = Scenario {
        servers: 1,
        load: 0.2,
        surge: Some(Surge { until: ms(2_000), load: 3.0 }),
        deadline: ms(300),
        strategy: Strategy::NoRetry,
        warm_up: ms(1),
        end: ms(6_000),
        ..Scenario::default()
    };
    let outcome = run(&scenario).unwrap();
    assert_eq!(outcome.ended.len(), outcome.jobs);
    let came = |from, to| outcome.ended.iter().filter(|job| (ms(from)..ms(to)).contains(&job.began)).count();
    assert!(came(0, 2_000) > 4 * came(2_000, 6_000), "{} {}", came(0, 2_000), came(2_000, 6_000));
    let in_time = outcome.ended.iter().filter(|job| job.end == JobEnd::InTime);
    assert!(in_time.clone().all(|job| job.took <= ms(300)) && in_time.count() == outcome.jobs - outcome.failed);
    // What was asked for at three times what could be done was not all done.
    assert!(outcome.failed > outcome.jobs / 4, "{} of {}", outcome.failed, outcome.jobs);
    let later = outcome.ended.iter().filter(|job| job.began > ms(3_000));
    assert!(later.clone().count() > 10 && later.clone().all(|job| job.end == JobEnd::InTime));
}
