//! From which length on attention over all pairs is most of the work.

use super::{archived, native_of, oracle};
use crate::{
    device::Device,
    native::{DEARER_ON_CPU, DEARER_ON_CUDA, family::Sight},
};

/// Of a layer of BERT: four products of width² and two of width times inner for a token, twice the width for a pair.
#[test]
fn berts_layers_all_have_the_same_one() {
    let model = native_of(&oracle("bert-base"));
    let encoder = &model.encoder;
    let (width, inner) = (encoder.hidden as f64, encoder.inner() as f64);
    let expected = (4.0 * width * width + 2.0 * width * inner) / (2.0 * width);
    assert_eq!(encoder.doubling_length(1.0), expected.round() as u32);
    for (device, dearer) in [(Device::Cpu, DEARER_ON_CPU), (Device::Cuda(0), DEARER_ON_CUDA)] {
        let dear = (expected / dearer).round() as u32;
        assert!(dear > 1 && model.doubling_length(device).abs_diff(dear) <= 1, "{device}");
    }
}

#[test]
fn causal_layers_see_half_of_the_pairs_and_windows_none() {
    let mut encoder = native_of(&archived("families/modernbert-base")).encoder;
    let mixed = encoder.doubling_length(1.0);
    let mut all = |sight| {
        encoder.layers.iter_mut().for_each(|layer| layer.attention.sight = sight);
        encoder.doubling_length(1.0)
    };
    let (full, causal, windows) = (all(Sight::All), all(Sight::Causal), all(Sight::Window(64)));
    assert!(mixed > full && full > 0, "{mixed} of layers that see all and windows, {full} of the first alone");
    assert!(causal.abs_diff(2 * full) <= 1, "{causal} {full}");
    assert_eq!(windows, 0);
}
