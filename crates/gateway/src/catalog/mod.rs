//! What the fleet serves and how loaded it is, as its servers said in the last round.
//!
//! Every `refresh_interval` each server is asked for its models and, model by model, for its load ([`Catalog::round`]).
//! GetModel, ListModels and Probe are answered from it, health and metrics follow it, and no request waits for it.
//!
//! A model that several servers have is one model here ([`merge`]). Its load is that of a server with as many devices:
//! tokens and rates are sums, shares, costs, waits and ages are means.
//!
//! What was kept of a model's answers stands as long as its servers agree on its [`ModelIdentity`] and no answer contradicts
//! it ([`Catalog::doubt`]), beside answers of the runs that said so ([`ModelRuns`]).

mod identity;
mod merge;
mod page;
mod runs;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use sortie_client::{Client, ErrorKind, MessageOptions, PerEndpoint};
use sortie_frontend::{AskedModel, Backing, RequestContext, ServeError};
use sortie_proto::v1;

pub(crate) use self::{identity::ModelIdentity, runs::ModelRuns};
use self::{
    merge::{merged_load, merged_model},
    page::SaidByServers,
};

/// Most time that a server may take to describe itself: it looks and touches no queue.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a server that does not answer in time still serves what it last said: a burst may hold it up, or this process.
/// As long as keep-alive takes to find out that a connection is dead.
const SAID_FOR: Duration = Duration::from_secs(15);

/// What a server last said that it serves, and when.
type LastLists = BTreeMap<String, (Instant, Vec<v1::ModelInfo>)>;

/// One model of the fleet.
#[derive(Debug)]
pub(crate) struct FleetModel {
    /// As the contract describes it.
    pub(crate) info: v1::ModelInfo,
    load: v1::LoadReport,
    draining: Arc<AtomicBool>,
    identity: Option<ModelIdentity>,
    /// The runs of its servers that agree on it.
    pub(crate) runs: Arc<ModelRuns>,
    /// Doubts that there are by now, and that there were before the servers were asked.
    doubts: Arc<AtomicU64>,
    doubts_before: u64,
}

impl FleetModel {
    /// Its load, as of the last round.
    pub(crate) fn load(&self) -> v1::LoadReport {
        let mut load = self.load;
        if self.draining.load(Ordering::Relaxed) {
            load.set_state(v1::ModelState::Draining);
        }
        load
    }

    /// What decides its numbers, where every server said the same in the last round and nothing has contradicted that since.
    pub(crate) fn identity(&self) -> Option<&ModelIdentity> {
        self.identity.as_ref().filter(|_| self.doubts.load(Ordering::Acquire) == self.doubts_before)
    }

    /// Its description.
    pub(crate) fn describe(&self) -> v1::ModelInfo {
        let mut info = self.info.clone();
        info.set_state(self.load().state());
        info
    }
}

impl AskedModel for FleetModel {
    fn name(&self) -> &str {
        &self.info.name
    }

    fn revision(&self) -> &str {
        &self.info.revision
    }

    fn load_report(&self) -> v1::LoadReport {
        self.load()
    }
}

/// Models by name.
type FleetModels = BTreeMap<String, Arc<FleetModel>>;

/// The fleet as of the last round.
#[derive(Debug)]
pub(crate) struct Catalog {
    client: Client,
    models: ArcSwap<FleetModels>,
    /// What each server said of itself.
    servers: ArcSwap<SaidByServers>,
    draining: Arc<AtomicBool>,
    /// No more work is taken.
    drained: AtomicBool,
    /// Of this process: reports of another say nothing of this one.
    epoch: u64,
    max_message_bytes: u64,
    doubts: Arc<AtomicU64>,
    /// By server; written by rounds alone.
    said: ArcSwap<LastLists>,
}

impl Catalog {
    /// A catalog with nothing in it yet. Answers have at most `max_message_bytes`.
    pub(crate) fn new(client: Client, max_message_bytes: u64) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            client,
            models: ArcSwap::default(),
            servers: ArcSwap::default(),
            draining: Arc::default(),
            drained: AtomicBool::new(false),
            epoch: u64::try_from(started.as_millis()).unwrap_or_default(),
            max_message_bytes,
            doubts: Arc::default(),
            said: ArcSwap::default(),
        }
    }

    /// Asks every server. True where one of them takes work.
    pub(crate) async fn round(&self) -> bool {
        let options = || {
            let mut options = MessageOptions::default();
            options.deadline = Some(ROUND_TIMEOUT);
            options
        };
        let doubts_before = self.doubts.load(Ordering::Acquire);
        let Ok(lists) = self.client.ask_servers(v1::ListModelsRequest {}, options()).await else {
            self.models.store(Arc::default());
            self.servers.store(Arc::default());
            return false;
        };
        let mut described: BTreeMap<String, Vec<v1::ModelInfo>> = BTreeMap::new();
        let (before, mut said, now) = (self.said.load_full(), LastLists::new(), Instant::now());
        for list in lists {
            let said_now = match list.result {
                Ok(list) => Some((now, list.models)),
                Err(error) => {
                    tracing::debug!(endpoint = list.endpoint, %error, "a server did not say what it serves");
                    let late = matches!(error.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Overloaded);
                    before.get(&list.endpoint).filter(|(at, _)| late && now - *at < SAID_FOR).cloned()
                }
            };
            let Some(said_now) = said_now else { continue };
            if said_now.0 != now {
                // It may serve another by now.
                self.doubt();
            }
            said_now.1.iter().for_each(|model| described.entry(model.name.clone()).or_default().push(model.clone()));
            said.insert(list.endpoint, said_now);
        }
        let said = Arc::new(said);
        self.said.store(Arc::clone(&said));
        let mut again: Option<LastLists> = None;
        let known = self.models.load_full();
        let mut models = FleetModels::new();
        let mut servers = SaidByServers::new();
        for (name, infos) in described {
            let probe = v1::ProbeRequest { model: name.clone(), tokens: 0 };
            let probes = self.client.ask_servers(probe, options()).await.unwrap_or_default();
            let mut reports = Vec::with_capacity(probes.len());
            let mut runs = ModelRuns::default();
            for PerEndpoint { endpoint, result, .. } in probes {
                let Ok(v1::ProbeResponse { report: Some(report), replica }) = result else { continue };
                runs.note(&endpoint, report.epoch);
                servers.entry(endpoint).or_default().note(replica, &name, &report);
                reports.push(report);
            }
            let before = known.get(&name);
            if runs.more_than(before.map(|model| &*model.runs)) {
                // The run that told its epoch may have begun after the list came: one that says the same again has not.
                if again.is_none() {
                    again = Some(self.lists(options()).await);
                }
                let same = |endpoint: &str| {
                    let of = |lists: &LastLists| {
                        let models = lists.get(endpoint).map(|(_, models)| models);
                        models.and_then(|models| models.iter().find(|model| model.name == name)).cloned()
                    };
                    let now = again.as_ref().and_then(of);
                    now.is_some() && now == of(&said)
                };
                runs.retain(same);
            }
            let last = before.filter(|_| reports.is_empty()).map(|model| model.load);
            let load = last.unwrap_or_else(|| merged_load(&reports, self.epoch, self.max_message_bytes));
            let Some(info) = merged_model(infos.clone(), &load) else { continue };
            let identity = identity::agreed(&infos, &info);
            let (draining, doubts) = (Arc::clone(&self.draining), Arc::clone(&self.doubts));
            let runs = Arc::new(runs);
            let model = FleetModel { info, load, draining, identity, runs, doubts, doubts_before };
            models.insert(name, Arc::new(model));
        }
        let ready = models.values().any(|model| model.load.state() == v1::ModelState::Ready);
        self.models.store(Arc::new(models));
        self.servers.store(Arc::new(servers));
        ready
    }

    /// What the servers that answer say that they serve.
    async fn lists(&self, options: MessageOptions) -> LastLists {
        let lists = self.client.ask_servers(v1::ListModelsRequest {}, options).await.unwrap_or_default();
        let (now, answered) =
            (Instant::now(), |list: PerEndpoint<v1::ListModelsResponse>| Some((list.endpoint, list.result.ok()?)));
        lists.into_iter().filter_map(answered).map(|(endpoint, list)| (endpoint, (now, list.models))).collect()
    }

    /// An answer came from another revision than the servers had said: until they are asked again nothing is known of any.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Every model, in name order.
    pub(crate) fn all(&self) -> Vec<Arc<FleetModel>> {
        self.models.load().values().map(Arc::clone).collect()
    }

    /// The model of that name; the empty name is the only model there is.
    ///
    /// # Errors
    /// As a server of these models would refuse; [`ServeError::NoServer`] where none is known.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<FleetModel>, ServeError> {
        let models = self.models.load();
        if models.is_empty() {
            return Err(ServeError::NoServer("none has said yet what it serves".to_owned()));
        }
        if let Some(model) = models.get(name) {
            return Ok(Arc::clone(model));
        }
        let served = || models.keys().cloned().collect();
        let mut all = models.values();
        match (name, all.next(), all.next()) {
            ("", Some(only), None) => Ok(Arc::clone(only)),
            ("", ..) => Err(ServeError::ModelNotNamed { served: served() }),
            _ => Err(ServeError::UnknownModel { name: name.to_owned(), served: served() }),
        }
    }

    /// Refuses work once the gateway is about to stop.
    ///
    /// # Errors
    /// [`ServeError::Draining`].
    pub(crate) fn takes_work(&self) -> Result<(), ServeError> {
        if self.drained.load(Ordering::Relaxed) { Err(ServeError::Draining) } else { Ok(()) }
    }
}

impl Backing for Catalog {
    fn admissible(&self, context: &RequestContext) -> Result<(), ServeError> {
        self.takes_work().inspect_err(|_| {
            if let Ok(model) = self.get(&context.caller.model) {
                context.note_model(model);
            }
        })
    }

    fn only_model(&self) -> Option<Arc<dyn AskedModel>> {
        self.get("").ok().map(|model| model as Arc<dyn AskedModel>)
    }

    fn load_reports(&self) -> Vec<v1::LoadReport> {
        self.models.load().values().map(|model| model.load()).collect()
    }

    fn announce_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn drain(&self) {
        self.announce_drain();
        self.drained.store(true, Ordering::Relaxed);
    }
}
