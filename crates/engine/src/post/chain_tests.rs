//! Chains against their definitions, worked out by hand.

use super::*;
use crate::post::{DenseActivation, Residual};

fn dense(weight: &[f32], outputs: usize, bias: Option<Vec<f32>>) -> Dense {
    Dense {
        inputs: weight.len() / outputs,
        outputs,
        weight: weight.to_vec(),
        bias,
        activation: DenseActivation::Identity,
        residual: Residual::None,
    }
}

fn text(ids: &[u32]) -> Sequence {
    Sequence { ids: ids.to_vec(), ..Sequence::default() }
}

fn run(steps: Vec<Step>, states: &[f32], width: usize, spec: EmbedSpec) -> Result<Vec<f32>, ItemFault> {
    let ids: Vec<u32> = (0..(states.len() / width) as u32).collect();
    Chain { steps, attend_expansion: false }.vector(states, width, &text(&ids), &spec)
}

const PLAIN: EmbedSpec = EmbedSpec { pooling: None, normalize: None, dimensions: None };

fn mean() -> Step {
    Step::Pool(Pool::default())
}

#[test]
fn pool_then_dense_then_cut() {
    let swap = Step::Dense(dense(&[0.0, 1.0, 1.0, 0.0], 2, Some(vec![0.0, 10.0])));
    // Mean of (1,2) and (3,6) is (2,4); swapped with the bias (4,12); cut to (4).
    let states = [1.0, 2.0, 3.0, 6.0];
    assert_eq!(run(vec![mean(), swap.clone()], &states, 2, PLAIN).unwrap(), [4.0, 12.0]);
    let cut = EmbedSpec { dimensions: Some(1), ..PLAIN };
    assert_eq!(run(vec![mean(), swap.clone()], &states, 2, cut).unwrap(), [4.0]);
    let too_many = EmbedSpec { dimensions: Some(3), ..PLAIN };
    assert!(matches!(run(vec![mean(), swap], &states, 2, too_many), Err(ItemFault::WrongWant(_))));
}

#[test]
fn poolings_stand_side_by_side_in_their_order() {
    let two = Step::Pool(Pool { modes: vec![Pooling::Max, Pooling::Cls], include_prompt: true });
    assert_eq!(run(vec![two.clone()], &[1.0, 2.0, 3.0, 0.0], 2, PLAIN).unwrap(), [3.0, 2.0, 1.0, 2.0]);
    assert_eq!(Chain { steps: vec![two], attend_expansion: false }.width(2), Ok(4));
}

#[test]
fn normalize_stands_where_the_folder_has_it() {
    let double = Step::Dense(dense(&[2.0, 0.0, 0.0, 2.0], 2, None));
    let (states, inner) = ([3.0, 4.0], vec![mean(), Step::Normalize, double]);
    let got = run(inner.clone(), &states, 2, PLAIN).unwrap();
    assert!((got[0] - 1.2).abs() < 1e-6 && (got[1] - 1.6).abs() < 1e-6, "{got:?}");
    // What stands inside is no finish: only the end gives way.
    let off = EmbedSpec { normalize: Some(false), ..PLAIN };
    assert_eq!(run(inner, &states, 2, off).unwrap(), got);
    assert_eq!(run(vec![mean(), Step::Normalize], &states, 2, off).unwrap(), [3.0, 4.0]);
    let on = EmbedSpec { normalize: Some(true), ..PLAIN };
    let got = run(vec![mean()], &states, 2, on).unwrap();
    assert!((got[0] - 0.6).abs() < 1e-6 && (got[1] - 0.8).abs() < 1e-6, "{got:?}");
}

#[test]
fn a_folder_s_own_cut_comes_after_its_norm_and_one_that_is_asked_for_before() {
    let steps = vec![mean(), Step::Normalize, Step::Cut(1)];
    let got = run(steps.clone(), &[3.0, 4.0], 2, PLAIN).unwrap();
    assert!(got.len() == 1 && (got[0] - 0.6).abs() < 1e-6, "{got:?}");
    let asked = EmbedSpec { dimensions: Some(1), ..PLAIN };
    assert_eq!(run(steps, &[3.0, 4.0], 2, asked).unwrap(), [1.0]);
}

#[test]
fn a_prompt_is_left_out_where_the_folder_says_so() {
    let pool = Step::Pool(Pool { modes: vec![Pooling::Mean], include_prompt: false });
    let chain = Chain { steps: vec![pool], attend_expansion: false };
    let prompted = Sequence { prompt_tokens: 2, ..text(&[1, 2, 3]) };
    assert_eq!(chain.vector(&[1.0, 2.0, 5.0], 1, &prompted, &PLAIN).unwrap(), [5.0]);
    assert_eq!(chain.vector(&[1.0, 2.0, 6.0], 1, &text(&[1, 2, 3]), &PLAIN).unwrap(), [3.0]);
    assert_eq!(chain.device_pooling(&PLAIN, &prompted), None);
    assert_eq!(chain.device_pooling(&PLAIN, &text(&[1])), Some(Pooling::Mean));
}

#[test]
fn weights_of_words_divide_the_mean() {
    let steps = vec![Step::TokenWeights(vec![1.0, 3.0]), mean()];
    // (1·2 + 3·6) / (1 + 3); an id beyond the list weighs 1.
    assert_eq!(run(steps, &[2.0, 6.0], 1, PLAIN).unwrap(), [5.0]);
}

#[test]
fn tokens_that_are_skipped_have_no_vector_and_expansion_has_one() {
    let mask = TokenMask { skipped: vec![7], roles: vec![Role::Document], kept: Vec::new() };
    let steps = vec![Step::TokenDense(dense(&[2.0], 1, None)), Step::Mask(mask), Step::NormalizeTokens];
    let chain = Chain { steps, attend_expansion: false };
    let document = Sequence { role: Some(Role::Document), ..text(&[1, 7, 2]) };
    let got = chain.tokens(&[1.0, 2.0, -3.0], 1, &document).unwrap();
    assert_eq!((got.values, got.tokens), (vec![1.0, -1.0], vec![0, 2]));
    let query = Sequence { role: Some(Role::Query), expansion: 1, ..text(&[1, 7, 2]) };
    assert_eq!(chain.tokens(&[1.0, 2.0, -3.0], 1, &query).unwrap().tokens, [0, 1, 2]);
    let unmasked = Chain { steps: Vec::new(), attend_expansion: false };
    assert_eq!(unmasked.tokens(&[1.0, 2.0, -3.0], 1, &query).unwrap().tokens, [0, 1]);
}

#[test]
fn a_row_that_a_device_pooled_goes_through_the_rest() {
    let double = Step::Dense(dense(&[2.0], 1, None));
    let chain = Chain { steps: vec![mean(), double], attend_expansion: false };
    assert_eq!(chain.vector_of_row(vec![3.0], &text(&[1]), &PLAIN).unwrap(), [6.0]);
}

#[test]
fn bad_numbers_are_faults() {
    assert_eq!(run(vec![mean()], &[f32::NAN], 1, PLAIN), Err(ItemFault::NonFinite));
    assert!(matches!(run(Vec::new(), &[1.0], 1, PLAIN), Err(ItemFault::WrongWant(_))));
}
