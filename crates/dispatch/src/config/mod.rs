//! Every number that steers dispatch: a named default with its reason and source, and
//! a field of [`DispatchConfig`] to change it by before a fleet is made.
//!
//! | section | steers |
//! |---|---|
//! | [`cost`] | what batches cost, how many tokens a text has |
//! | [`load`] | how loaded the fleet is |
//! | [`plan`] | into how many chunks a job is cut |
//! | [`place`] | which server gets a chunk, and probes for it |
//! | [`hedge`] | when a late attempt gets a second one |
//! | [`budget`] | what paid retries and hedges may add to the load |
//! | [`retry`] | what is tried again |
//! | [`health`] | suspicion, ejection, servers that come and go |

use crate::report::Limits;

#[macro_use]
mod settings;

pub mod budget;
pub mod cost;
pub mod health;
pub mod hedge;
pub mod load;
pub mod place;
pub mod plan;
pub mod retry;

pub use budget::BudgetConfig;
pub use cost::{CostConfig, PRIOR};
pub use health::HealthConfig;
pub use hedge::HedgeConfig;
pub use load::LoadConfig;
pub use place::PlaceConfig;
pub use plan::PlanConfig;
pub use retry::RetryConfig;

/// What a request may hold where a server does not say. Items, message bytes and queue tokens are the server's
/// defaults. A batch is taken to hold 2,048 tokens: a server's default is 1,024 on processors and 16,384 or more on
/// GPUs. Message bytes are also an upper bound on what servers say, because the client has to hold the message too.
pub const LIMITS: Limits = Limits {
    max_batch_tokens: 2_048,
    max_items: 10_000,
    max_message_bytes: 64 << 20,
    max_queue_tokens: 1 << 20,
    cuts_jobs: false,
};

/// All settings, to be changed before a fleet is made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DispatchConfig {
    /// What batches cost.
    pub cost: CostConfig,
    /// How loaded the fleet is.
    pub load: LoadConfig,
    /// Into how many chunks a job is cut.
    pub plan: PlanConfig,
    /// Which server gets a chunk.
    pub place: PlaceConfig,
    /// When a late attempt gets a second one.
    pub hedge: HedgeConfig,
    /// What paid retries and hedges may add.
    pub budget: BudgetConfig,
    /// What is tried again.
    pub retry: RetryConfig,
    /// Which servers are passed over.
    pub health: HealthConfig,
    /// See [`LIMITS`].
    pub limits: Limits,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            cost: CostConfig::default(),
            load: LoadConfig::default(),
            plan: PlanConfig::default(),
            place: PlaceConfig::default(),
            hedge: HedgeConfig::default(),
            budget: BudgetConfig::default(),
            retry: RetryConfig::default(),
            health: HealthConfig::default(),
            limits: LIMITS,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
#[non_exhaustive]
pub struct DispatchConfigError {
    /// The field of [`DispatchConfig`], for example `hedge.quantile`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl DispatchConfigError {
    fn check(holds: bool, field: &'static str, problem: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { field, problem }) }
    }
}

impl DispatchConfig {
    /// Checks every setting, alone and together.
    ///
    /// # Errors
    ///
    /// Names the first that makes no sense.
    pub fn validate(&self) -> Result<(), DispatchConfigError> {
        self.cost.validate()?;
        self.load.validate()?;
        self.plan.validate()?;
        self.place.validate()?;
        self.hedge.validate()?;
        self.budget.validate()?;
        self.retry.validate()?;
        self.health.validate()?;
        let check = DispatchConfigError::check;
        check(self.limits.is_whole(), "limits", "must all be above zero")?;
        check(self.retry.max_backoff >= self.retry.backoff, "retry.max_backoff", "must not be below retry.backoff")?;
        let ready = self.health.max_not_ready >= self.health.not_ready;
        check(ready, "health.max_not_ready", "must not be below health.not_ready")?;
        let ejection = self.health.max_ejection >= self.health.ejection;
        check(ejection, "health.max_ejection", "must not be below health.ejection")?;
        let calm = self.load.calm <= self.load.target;
        check(calm, "load.calm", "must not be above load.target")?;
        // More attempts pass the trigger than the budget has tokens for: the first come would be
        // hedged, not the worst.
        let affordable = 1.0 - self.hedge.quantile <= 0.6 * self.budget.hedge_share + 1e-9 || !self.hedge.enabled;
        check(affordable, "hedge.quantile", "must be at least 1 - 0.6 budget.hedge_share")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_named() {
        assert_eq!(DispatchConfig::default().validate(), Ok(()));
        let mut wrong = DispatchConfig::default();
        wrong.cost.max_step = 1.0;
        assert_eq!(wrong.validate().unwrap_err().field, "cost.max_step");
        let mut wrong = DispatchConfig::default();
        wrong.cost.tokens_per_byte = f64::NAN;
        assert_eq!(wrong.validate().unwrap_err().to_string(), "cost.tokens_per_byte must be above zero");
    }

    #[test]
    fn every_setting_is_in_the_docs() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dispatch.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let sections = [
            CostConfig::NAMES,
            LoadConfig::NAMES,
            PlanConfig::NAMES,
            PlaceConfig::NAMES,
            HedgeConfig::NAMES,
            BudgetConfig::NAMES,
            RetryConfig::NAMES,
            HealthConfig::NAMES,
        ];
        for name in sections.concat() {
            assert!(docs.contains(&format!("| `{name}` |")), "{name} is not in docs/dispatch.md");
        }
    }

    #[test]
    fn a_trigger_that_the_budget_cannot_pay_for_is_refused() {
        let mut wrong = DispatchConfig::default();
        wrong.budget.hedge_share = 0.02;
        assert_eq!(wrong.validate().unwrap_err().field, "hedge.quantile");
        wrong.hedge.quantile = 0.988;
        assert_eq!(wrong.validate(), Ok(()));
    }
}
