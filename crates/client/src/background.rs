//! What runs beside the calls of a client: discoveries, and what the fleet asks for
//! (probes of silent and ejected servers, and a clock).
//!
//! Invariant: these tasks hold the client weakly and end with it. They start at the
//! first call, for a client may be built outside a runtime; where the runtime they ran
//! on is gone they start again on the next one.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use sortie_dispatch::{FleetAction, FleetEvent};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, ClientState},
    discovery, metrics,
    probe::probe,
};

/// The tasks.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tasks: Mutex<BackgroundTasks>,
    /// Counts servers that lost their last connection: names may lead elsewhere by now.
    disconnects: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct BackgroundTasks {
    running: Vec<JoinHandle<()>>,
    /// To the fleet's task. Unbounded, and yet short: the fleet has one probe a server under way.
    actions: Option<UnboundedSender<FleetAction>>,
    /// Actions from before the tasks started.
    waiting: Vec<FleetAction>,
}

impl Background {
    /// Starts the tasks that do not run. Must be called inside a tokio runtime.
    pub(crate) fn start(&self, client: &Client) {
        let mut tasks = self.tasks.lock();
        if !tasks.running.is_empty() && tasks.running.iter().all(|task| !task.is_finished()) {
            return;
        }
        for task in tasks.running.drain(..) {
            task.abort();
        }
        let weak = Arc::downgrade(client.inner());
        let (sender, receiver) = unbounded_channel();
        tasks.running.push(tokio::spawn(run_fleet_actions(weak.clone(), client.stop().clone(), receiver)));
        for action in std::mem::take(&mut tasks.waiting) {
            // The receiver lives in the task that was just started.
            let _ = sender.send(action);
        }
        tasks.actions = Some(sender);
        for discovery in &client.config().discoveries {
            let task =
                discovery::run(discovery.clone(), weak.clone(), client.stop().clone(), self.disconnects.subscribe());
            tasks.running.push(tokio::spawn(task));
        }
        drop(tasks);
        for (_, server) in client.servers() {
            server.start();
        }
    }

    /// Notes that a server has lost its last connection, so that names are looked up again.
    pub(crate) fn notify_disconnected(&self) {
        self.disconnects.send_modify(|count| *count += 1);
    }

    /// Hands the fleet's actions to the task that carries them out.
    pub(crate) fn act(&self, actions: Vec<FleetAction>) {
        let mut tasks = self.tasks.lock();
        for action in actions {
            let unsent = match &tasks.actions {
                Some(sender) => sender.send(action).err().map(|unsent| unsent.0),
                None => Some(action),
            };
            tasks.waiting.extend(unsent);
        }
    }
}

/// Carries out the fleet's actions until the client is gone.
async fn run_fleet_actions(
    client: Weak<ClientState>,
    stop: CancellationToken,
    mut actions: UnboundedReceiver<FleetAction>,
) {
    /// Longer than any wait; a sleep needs an end.
    const NEVER: Duration = Duration::from_secs(86_400 * 365);
    let mut probes: FuturesUnordered<BoxFuture<'static, FleetEvent>> = FuturesUnordered::new();
    let mut wake = Instant::now() + NEVER;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            action = actions.recv() => match action {
                None => return,
                Some(FleetAction::WakeAt(time)) => {
                    let Some(client) = client.upgrade().map(Client::of) else { return };
                    wake = client.instant_of(time);
                    continue;
                }
                Some(FleetAction::Probe { probe: number, endpoint, model, purpose }) => {
                    let Some(client) = client.upgrade().map(Client::of) else { return };
                    let (server, name, within) = {
                        let fleet = client.fleet().lock();
                        let name = fleet.model_name(model).unwrap_or_default().to_owned();
                        (client.server(endpoint), name, fleet.config().health.probe_timeout)
                    };
                    let call = probe(&client, server, name, 0, within);
                    probes.push(Box::pin(async move {
                        let outcome = call.await;
                        metrics::probe(purpose, outcome.is_ok());
                        match outcome {
                            Ok(report) => FleetEvent::ProbeAnswered { probe: number, report },
                            Err(failure) => FleetEvent::ProbeFailed { probe: number, failure },
                        }
                    }));
                    continue;
                }
                // An action of a later version.
                Some(_) => continue,
            },
            Some(event) = probes.next() => event,
            () = sleep_until(wake) => {
                wake = Instant::now() + NEVER;
                FleetEvent::Tick
            }
        };
        let Some(client) = client.upgrade().map(Client::of) else { return };
        client.tell(event);
    }
}
