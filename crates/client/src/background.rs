//! What runs beside the calls of a client: discoveries, and what the fleet asks for
//! (probes of suspect and ejected servers, and a clock).
//!
//! Invariant: these tasks hold the client weakly and end with it. They start at the
//! first call, for a client may be built outside a runtime; where the runtime they ran
//! on is gone they start again on the next one.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use sortie_dispatch::{FleetAction, FleetEvent};
use tokio::time::{Instant, sleep_until};

use crate::{discovery, error::Error, metrics, probe::probe, state::ClientState};

/// Starts the tasks that do not run, and waits until a server is known. Every call begins with it.
///
/// # Errors
///
/// As [`ClientState::populated`].
pub(crate) async fn start(state: &Arc<ClientState>, deadline: Instant) -> Result<(), Error> {
    start_tasks(state);
    state.populated(deadline).await
}

fn start_tasks(state: &Arc<ClientState>) {
    let mut tasks = state.tasks.lock();
    if !tasks.is_empty() && tasks.iter().all(|task| !task.is_finished()) {
        return;
    }
    for task in tasks.drain(..) {
        task.abort();
    }
    tasks.push(tokio::spawn(run_fleet_actions(Arc::downgrade(state))));
    for discovery in &state.config.discoveries {
        tasks.push(tokio::spawn(discovery::run(discovery.clone(), Arc::downgrade(state))));
    }
    drop(tasks);
    state.start_servers();
}

/// Carries out what the fleet asks for, until the client is gone.
async fn run_fleet_actions(weak: Weak<ClientState>) {
    /// Longer than any wait; a sleep needs an end.
    const NEVER: Duration = Duration::from_secs(86_400 * 365);
    let Some((stop, actions)) = weak.upgrade().map(|state| (state.stop.clone(), Arc::clone(&state.fleet_actions)))
    else {
        return;
    };
    let mut probes: FuturesUnordered<BoxFuture<'static, FleetEvent>> = FuturesUnordered::new();
    let mut wake = Instant::now() + NEVER;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            action = actions.next() => {
                let Some(state) = weak.upgrade() else { return };
                match action {
                    FleetAction::WakeAt(time) => wake = state.instant_of(time),
                    FleetAction::Probe { probe: number, endpoint, model, purpose } => {
                        let (name, within) = {
                            let fleet = state.fleet();
                            let name = fleet.model_name(model).unwrap_or_default().to_owned();
                            (name, fleet.config().health.probe_timeout)
                        };
                        let call = probe(&state, endpoint, name, 0, within);
                        probes.push(Box::pin(async move {
                            let outcome = call.await;
                            metrics::probe(purpose, outcome.is_ok());
                            match outcome {
                                Ok(report) => FleetEvent::ProbeAnswered { probe: number, report },
                                Err(failure) => FleetEvent::ProbeFailed { probe: number, failure },
                            }
                        }));
                    }
                    // An action of a later version.
                    _ => {}
                }
                continue;
            }
            Some(event) = probes.next() => event,
            () = sleep_until(wake) => {
                wake = Instant::now() + NEVER;
                FleetEvent::Tick
            }
        };
        let Some(state) = weak.upgrade() else { return };
        state.tell(event);
    }
}
