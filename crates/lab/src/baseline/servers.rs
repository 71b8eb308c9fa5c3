//! Servers as a baseline knows them: which there are, and what of ours each has.
//!
//! Invariant: what an attempt adds to the counts is taken away again once, however it ends.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::rules::Balance;

/// Draws for a server that a chunk was not sent to.
const DRAWS: usize = 32;

/// The servers.
#[derive(Debug)]
pub(super) struct Servers {
    balance: Balance,
    /// Those that can be sent to.
    ready: Vec<usize>,
    /// By number, gone ones too.
    in_flight: Vec<InFlight>,
    /// Place of the next of those that take turns.
    next: usize,
    rng: StdRng,
}

/// What a server has of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InFlight {
    requests: u32,
    tokens: u64,
}

impl Servers {
    /// So many, all ready.
    pub(super) fn new(balance: Balance, count: usize, turn: usize, seed: u64) -> Self {
        let in_flight = vec![InFlight::default(); count];
        let next = turn % count.max(1);
        Self { balance, ready: (0..count).collect(), in_flight, next, rng: StdRng::seed_from_u64(seed) }
    }

    /// A server can be sent to.
    pub(super) fn add(&mut self, server: usize) {
        if !self.ready.contains(&server) {
            self.ready.push(server);
        }
        self.in_flight.resize(self.in_flight.len().max(server + 1), InFlight::default());
    }

    /// It cannot.
    pub(super) fn remove(&mut self, server: usize) {
        self.ready.retain(|&other| other != server);
    }

    /// An attempt is sent.
    pub(super) fn take(&mut self, server: usize, tokens: u64) {
        if let Some(count) = self.in_flight.get_mut(server) {
            count.requests += 1;
            count.tokens += tokens;
        }
    }

    /// It is over.
    pub(super) fn give_back(&mut self, server: usize, tokens: u64) {
        if let Some(count) = self.in_flight.get_mut(server) {
            count.requests = count.requests.saturating_sub(1);
            count.tokens = count.tokens.saturating_sub(tokens);
        }
    }

    /// Requests in flight to all.
    pub(super) fn requests(&self) -> u64 {
        self.in_flight.iter().map(|count| u64::from(count.requests)).sum()
    }

    /// A server by the rule, another than the excluded where there is one.
    pub(super) fn pick(&mut self, excluded: &[usize]) -> Option<usize> {
        match self.balance {
            Balance::InTurn => self.in_turn(excluded),
            Balance::Random => self.fresh(excluded).or_else(|| self.draw()),
            Balance::TwoChoices => {
                let (first, second) = (self.fresh(excluded), self.fresh(excluded));
                let best = [first, second].into_iter().flatten().min_by_key(|&server| self.of(server).requests);
                best.or_else(|| self.ready.first().copied())
            }
            Balance::LeastTokens => self.least(excluded),
        }
    }

    fn of(&self, server: usize) -> InFlight {
        self.in_flight.get(server).copied().unwrap_or(InFlight { requests: u32::MAX, tokens: u64::MAX })
    }

    fn in_turn(&mut self, excluded: &[usize]) -> Option<usize> {
        let mut picked = None;
        for _ in 0..self.ready.len() {
            picked = self.ready.get(self.next % self.ready.len()).copied();
            self.next = self.next.wrapping_add(1);
            if picked.is_some_and(|server| !excluded.contains(&server)) {
                break;
            }
        }
        picked
    }

    fn draw(&mut self) -> Option<usize> {
        let place = self.rng.random_range(0..self.ready.len().max(1));
        self.ready.get(place).copied()
    }

    fn fresh(&mut self, excluded: &[usize]) -> Option<usize> {
        (0..DRAWS).filter_map(|_| self.draw()).find(|server| !excluded.contains(server))
    }

    /// Of equals any.
    fn least(&mut self, excluded: &[usize]) -> Option<usize> {
        let first = self.rng.random_range(0..self.ready.len().max(1));
        let (before, after) = self.ready.split_at_checked(first)?;
        let all = || after.iter().chain(before).copied();
        let best = all().filter(|server| !excluded.contains(server)).min_by_key(|&server| self.of(server).tokens);
        best.or_else(|| all().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excluded_is_picked_only_where_there_is_nothing_else() {
        for balance in [Balance::InTurn, Balance::Random, Balance::TwoChoices, Balance::LeastTokens] {
            let mut servers = Servers::new(balance, 3, 0, 1);
            for _ in 0..20 {
                assert_eq!(servers.pick(&[0, 2]), Some(1), "{balance:?}");
                assert!(servers.pick(&[0, 1, 2]).is_some(), "{balance:?}");
            }
            (0..3).for_each(|server| servers.remove(server));
            assert_eq!(servers.pick(&[]), None, "{balance:?}");
            servers.add(7);
            assert_eq!(servers.pick(&[]), Some(7), "{balance:?}");
        }
    }

    #[test]
    fn the_least_loaded_is_picked_and_what_was_taken_comes_back() {
        let mut servers = Servers::new(Balance::LeastTokens, 2, 0, 1);
        servers.take(0, 9);
        assert_eq!((servers.pick(&[]), servers.requests()), (Some(1), 1));
        servers.give_back(0, 9);
        assert_eq!(servers.requests(), 0);
        assert_eq!(servers.in_flight, [InFlight::default(); 2]);
    }
}
