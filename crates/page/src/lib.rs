//! The page at `/` of a server and of a gateway: what is served, a place to try it, and how the last jobs ran.
//!
//! ```text
//! PageSource (models, fleet) ─┐
//! RecentJobs (times, sizes) ──┼→ LivePage → page.html (by the server, without a script)
//! phase of the process ───────┘           → state.json → page.js, once a second while it is seen
//! ```
//! Invariant: nothing that is shown holds a text of a request. What jobs leave here are names that the process knows
//! itself, sizes and times ([`PageJob`], [`PageAttempt`]); ids and model names that callers made up are not among them.
//! Who may look is the caller's business: these routes ask for no key.

#![forbid(unsafe_code)]

mod headers;
mod jobs;
mod live;
mod recent;
mod routes;
mod source;
mod state;

pub use headers::plain;
pub use jobs::{PageAttempt, PageJob};
pub use live::{LivePage, PageReadiness};
pub use recent::RecentJobs;
pub use routes::routes;
pub use source::{PageFleet, PageServer, PageServerModel, PageSource};
pub use state::{PageLoad, PageState};
