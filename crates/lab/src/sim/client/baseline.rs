//! Clients of others: a [`Baseline`] in virtual time.
//!
//! It is given what it could not know: the true cost of a batch.

use std::time::Duration;

use sortie_dispatch::{AttemptId, ItemSize};

use super::action::{ClientTotals, Failed, JobId, ServerEvent, SimAction};
use crate::{
    Strategy,
    baseline::{Baseline, BaselineSetup, ClientAction, Cut, ExpectedTime, RetryRule},
    sim::scenario::Scenario,
    stats::Spent,
};

/// A client with fixed rules.
#[derive(Debug)]
pub(crate) struct BaselineClient {
    baseline: Baseline,
    actions: Vec<ClientAction>,
}

impl BaselineClient {
    /// The client of that number; none where dispatch thinks for the strategy.
    pub(super) fn new(scenario: &Scenario, strategy: Strategy, number: usize, seed: u64) -> Option<Self> {
        let rules = strategy.rules(Cut::Chunks(scenario.fixed_chunks), RetryRule::ELSEWHERE)?;
        let (network, config) = (&scenario.network, scenario.config(strategy));
        let baseline = Baseline::new(BaselineSetup {
            rules,
            servers: scenario.servers,
            deadline: scenario.deadline,
            expected: ExpectedTime { cost: scenario.cost, round_trip: (network.one_way + network.tail) * 2 },
            hedge: config.hedge,
            budget: config.budget,
            exclusion: scenario.exclusion,
            // Clients whose turns were the same would all begin with one server.
            turn: number,
            seed,
        });
        Some(Self { baseline, actions: Vec::new() })
    }

    pub(super) fn submit(&mut self, id: JobId, items: &[ItemSize], now: Duration, out: &mut Vec<SimAction>) {
        self.act(out, |baseline, actions| baseline.submit(id, items.iter().map(|item| item.tokens), now, actions));
    }

    pub(super) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        reply: Result<(), Failed>,
        now: Duration,
        out: &mut Vec<SimAction>,
    ) {
        let reply = reply.map_err(|failed| failed.failure);
        self.act(out, |baseline, actions| baseline.reply(id, attempt.0, reply, now, actions));
    }

    pub(super) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<SimAction>) {
        self.act(out, |baseline, actions| baseline.tick(id, now, actions));
    }

    pub(super) fn server_event(&mut self, server: usize, event: ServerEvent) {
        match event {
            ServerEvent::Joined | ServerEvent::Connected => self.baseline.add_server(server),
            ServerEvent::Removed | ServerEvent::Disconnected => self.baseline.remove_server(server),
        }
    }

    pub(super) fn tally(&self) -> ClientTotals {
        let totals = self.baseline.totals();
        // No budget pays for its retries, and none is passed by them.
        let spent = Spent { retries: 0, free: totals.spent.retries, ..totals.spent };
        let (hedges, hedges_won, in_flight) = (totals.hedges, totals.hedges_won, totals.in_flight);
        ClientTotals { spent, hedges, hedges_won, in_flight, ..ClientTotals::default() }
    }

    fn act(&mut self, out: &mut Vec<SimAction>, act: impl FnOnce(&mut Baseline, &mut Vec<ClientAction>)) {
        act(&mut self.baseline, &mut self.actions);
        out.extend(self.actions.drain(..).map(SimAction::Client));
    }
}
