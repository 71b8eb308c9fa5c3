//! How loaded the fleet is: ρ = served tokens/s ÷ rate.

use std::time::Duration;

use super::settings::{lasting, proper_share};

settings! {
    /// See [the module](self).
    LoadConfig in "load" {
        /// ρ*: from here on jobs are sent whole, for every further cut costs time that the fleet does not
        /// have. Batch overhead grows with cuts, so there is no room above.
        TARGET target: f64 = 0.85, proper_share, "must be above 0, at most 1";

        /// A fleet that was at [`TARGET`] counts as there until ρ falls below this: without the gap
        /// clients would flip between whole and cut at a load that itself depends on it.
        CALM calm: f64 = 0.80, proper_share, "must be above 0, at most 1";

        /// Time over which ρ is averaged; servers average their own report over five seconds.
        WINDOW window: Duration = Duration::from_secs(1), lasting, "must be above zero";

        /// A server's report of its load is forgotten after this.
        MEMORY memory: Duration = Duration::from_secs(5), lasting, "must be above zero";
    }
}
