//! Plans for the fleet as it stands: how many chunks the load allows, for which servers,
//! and whether those are asked first.
//!
//! A job asks before it is cut where a chunk takes at least
//! [`crate::config::PlaceConfig::probe_worth`] probe round trips and it will have fewer
//! chunks than half of a fleet that is too large to be known from own work: then
//! `min(2k, N)` servers are asked, and the job is cut for those that answer (Sparrow's batch
//! sampling with late binding, SOSP '13, and water-filling in tokens).

use rand::seq::SliceRandom as _;

use super::{EndpointId, Fleet, ModelId};
use crate::{
    options::JobOptions,
    place::Candidate,
    plan::{self, Chunk, DeferredPlan, FleetView, ItemSize, Plan, SharedSize},
    time::Time,
};

impl Fleet {
    /// Cuts a job for the servers as they stand.
    #[must_use]
    pub fn plan(
        &mut self,
        model: ModelId,
        items: &[ItemSize],
        shared: SharedSize,
        options: &JobOptions,
        now: Time,
    ) -> Plan {
        let work = items.iter().map(|item| item.work).sum::<u64>();
        self.budget.job(&self.config.budget, work);
        self.refresh_load(now);
        let view = self.view(model, options, now);
        let (cap, _) = view.cap(&self.config);
        let drawn = self.open_servers(2 * cap.min(items.len()).max(1), model, options, now);
        let candidates = self.candidates(&drawn, model, now);
        let plan = plan::plan(&self.config, items, shared, &candidates, &view);
        let Some(probes) = self.worth_asking(&plan, &candidates, model, options, now) else { return plan };
        let chunks = plan.chunks.len();
        let chunk_work = work / chunks.max(1) as u64;
        let deferred =
            DeferredPlan { probes, chunks, chunk_work, items: items.to_vec(), shared, view, options: *options };
        Plan { chunks: Vec::new(), deferred: Some(deferred), ..plan }
    }

    /// Cuts a job whose probes have come back from `answered`.
    pub(crate) fn cut(
        &mut self,
        deferred: &DeferredPlan,
        answered: &[EndpointId],
        model: ModelId,
        now: Time,
    ) -> Vec<Chunk> {
        let mut servers = answered.to_vec();
        if servers.len() < deferred.chunks {
            // Those that did not answer are not among these, but for bad luck.
            let others = self.open_servers(2 * deferred.chunks, model, &deferred.options, now);
            let new: Vec<_> = others.into_iter().filter(|id| !deferred.probes.contains(id)).collect();
            servers.extend(new.into_iter().take(deferred.chunks - servers.len()));
        }
        if servers.is_empty() {
            servers = self.open_servers(2 * deferred.chunks, model, &deferred.options, now);
        }
        let candidates = self.candidates(&servers, model, now);
        let mut config = self.config.clone();
        config.plan.max_chunks = deferred.chunks.max(1);
        plan::plan(&config, &deferred.items, deferred.shared, &candidates, &deferred.view).chunks
    }

    /// Servers as candidates, the least recently used first, so that equals take turns; those never used by chance, or all
    /// clients of a fleet would begin with the same.
    fn candidates(&mut self, servers: &[EndpointId], model: ModelId, now: Time) -> Vec<Candidate> {
        let mut servers = servers.to_vec();
        servers.shuffle(&mut self.rng);
        servers.sort_by_key(|&id| self.endpoint(id).and_then(|endpoint| endpoint.last_used));
        servers.iter().filter_map(|&id| self.candidate(id, model, now)).collect()
    }

    /// The fleet as a job about to be cut finds it.
    fn view(&mut self, model: ModelId, options: &JobOptions, now: Time) -> FleetView {
        let load = self.load.rho();
        let (contention, proven) = match self.models.get_mut(model.0 as usize) {
            Some(state) => (
                state.contention.follow(&self.config, load, now),
                state.prior.has_report() || state.prior.samples() >= self.config.plan.trusted_samples,
            ),
            None => (1.0, false),
        };
        let suspects = if self.suspicion_counts() { self.suspects } else { 0 };
        let servers = self.members.len().saturating_sub(self.out + suspects).max(1);
        let hedging = options.hedging && self.config.hedge.enabled;
        let time_us = (options.deadline - now).as_secs_f64() * 1e6;
        FleetView {
            load,
            high: self.load.is_high(),
            servers,
            contention,
            proven,
            hedging,
            whole: options.whole,
            lane: options.lane,
            time_us,
        }
    }

    /// The servers to ask before a job is cut like this, if that is worth the while.
    fn worth_asking(
        &mut self,
        plan: &Plan,
        candidates: &[Candidate],
        model: ModelId,
        options: &JobOptions,
        now: Time,
    ) -> Option<Vec<EndpointId>> {
        let place = &self.config.place;
        let (chunks, members) = (plan.chunks.len(), self.members.len());
        let worth = place.probe_worth * self.round_trip_us();
        let slow = plan
            .chunks
            .first()
            .zip(candidates.first())
            .is_some_and(|(chunk, server)| server.service_us(chunk.work as f64) >= worth);
        if !place.probing || members < place.probe_fleet || 2 * chunks >= members || !slow {
            return None;
        }
        let wanted = (place.probes_per_chunk * chunks).min(members);
        let mut servers = self.open_servers(wanted, model, options, now);
        servers.shuffle(&mut self.rng);
        servers.truncate(wanted);
        (servers.len() > chunks).then_some(servers)
    }

    /// Looks at all servers now and then: what they say of their load, and what they have to do.
    fn refresh_load(&mut self, now: Time) {
        if !self.load.is_stale(&self.config.load, now) {
            return;
        }
        let memory = self.config.load.memory;
        let servers = || self.members.iter().filter_map(|&id| Some((id, self.endpoint(id)?)));
        let reported: Vec<_> = servers()
            .filter_map(|(_, server)| server.last_report)
            .filter(|last_report| now - last_report.at <= memory)
            .map(|last_report| last_report.rho)
            .collect();
        let usual = self.load.external_load_us();
        let decay = self.config.place.report_decay;
        let backlog: f64 =
            servers().map(|(id, server)| self.own_us(id, now) + server.external_load_us(decay, usual, now)).sum();
        self.usual_backlog_us = backlog / self.members.len().max(1) as f64;
        self.load.refresh(&self.config.load, reported.into_iter(), self.members.len(), now);
    }
}
