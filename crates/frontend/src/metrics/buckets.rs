//! Bounds of histogram buckets: 1, 2, 5 a decade, so that a quantile read off them
//! is right to a factor of two, at a dozen or so time series each.

/// Seconds of whole requests: half a millisecond to a minute.
pub const REQUEST_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Seconds of one stage or batch: a tenth of a millisecond, a small GPU batch, to ten seconds.
pub const STAGE_SECONDS: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

#[cfg(test)]
mod tests {
    #[test]
    fn bounds_rise() {
        for bounds in [super::REQUEST_SECONDS, super::STAGE_SECONDS] {
            assert!(bounds.windows(2).all(|w| w[0] < w[1]), "{bounds:?}");
        }
    }
}
