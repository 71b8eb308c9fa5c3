//! Which server gets a chunk, and the probes that help to find it.

use std::time::Duration;

use super::settings::lasting;

settings! {
    /// See [the module](self).
    PlaceConfig in "place" {
        /// Fleets up to this size are looked at whole; of larger ones two a chunk are drawn at random
        /// (power of two choices), so that the clients of a fleet do not all find the same best server.
        SCAN_LIMIT scan_limit: usize = 32, |x| *x > 0, "must be above zero";

        /// How fast a load report ages: after this long it counts for 1/e.
        REPORT_DECAY report_decay: Duration = Duration::from_millis(100), lasting, "must be above zero";

        /// Servers that would answer within this share of a chunk's own time after the first count as equal, and take
        /// turns: the least recently used gets it. Each prediction strays by [`super::plan::SERVICE_NOISE`], two of them
        /// by 0.11 from each other; one pair of equals in fourteen is still told apart by this. Without turns a fleet with
        /// little to do sends everything to the one whose estimate happens to be lowest, and never learns better of the others.
        /// Times `1 − ρ`: under load every server is used anyway, and waiting longer than needed costs what there is not.
        MARGIN margin: f64 = 0.2, |x| (0.0..1.0).contains(x), "must be from 0 to below 1";

        /// The least such time, for chunks so short that timers, threads that wake and the network decide.
        LEAST_MARGIN least_margin: Duration = Duration::from_micros(100), |_| true, "";

        /// Whether jobs may ask servers for their load before they are placed.
        PROBING probing: bool = true, |_| true, "";

        /// Servers that are probed for each chunk (Sparrow, SOSP '13: two a task are enough).
        PROBES_PER_CHUNK probes_per_chunk: usize = 2, |x| *x > 0, "must be above zero";

        /// Fleets below this size are known well enough from own work and from reports in answers: with 16
        /// servers and one client, asking first made p50 a third longer in simulation.
        PROBE_FLEET probe_fleet: usize = SCAN_LIMIT + 1, |_| true, "";

        /// A probe's round trip must be no more than this part of a chunk's predicted service, or placing
        /// blindly is the faster way: service ≥ this × round trip.
        PROBE_WORTH probe_worth: f64 = 3.0, |x| x.is_finite() && *x > 0.0, "must be above zero";

        /// Longest that a job waits for its probes. A model of 1,000 servers lost 8% of p50 and 5% of p99
        /// with 1 ms more, a fifth of both with 3 ms: cap and go.
        PROBE_WAIT probe_wait: Duration = Duration::from_millis(3), lasting, "must be above zero";

        /// Whether hedges and retries keep off servers that the chunk was sent to before. Only a measurement
        /// of what that is worth wants it off.
        EXCLUSION exclusion: bool = true, |_| true, "";

        /// Attempts that a server of which nothing is known may have at once: unknown is not idle, and a
        /// fresh server must not get what all clients have (Elasticsearch 147579).
        UNKNOWN_IN_FLIGHT unknown_in_flight: u32 = 2, |x| *x > 0, "must be above zero";
    }
}
