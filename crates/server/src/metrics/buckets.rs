//! Bounds of histogram buckets: 1, 2, 5 a decade, so that a quantile read off them
//! is right to a factor of two, at a dozen or so time series each.

/// Seconds of whole requests: half a millisecond to a minute.
pub(super) const REQUEST_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Seconds of one stage or batch: a tenth of a millisecond, a small GPU batch, to ten seconds.
pub(super) const STAGE_SECONDS: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Tokens of a batch: powers of two from one short text to the largest GPU batch.
pub(super) const BATCH_TOKENS: &[f64] =
    &[32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0];

/// Tokens of a batch over the most it may have. Above 1 is one single long text.
pub(super) const FILL: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

#[cfg(test)]
mod tests {
    #[test]
    fn bounds_rise() {
        for bounds in [super::REQUEST_SECONDS, super::STAGE_SECONDS, super::BATCH_TOKENS, super::FILL] {
            assert!(bounds.windows(2).all(|w| w[0] < w[1]), "{bounds:?}");
        }
    }
}
