//! What follows an encoder, step by step in the folder's order: from token states to one vector, to scores, or to one
//! vector a token.
//!
//! A step works on the tokens or on the vector that pooling made of them. All numbers are f32; sums of a pooling and of
//! a norm are taken in f64.

use std::borrow::Cow;

use super::{
    all_finite,
    dense::Dense,
    norm::{LayerNorm, normalize},
    pooling::{TokenStates, pool},
};
use crate::{
    item::{EmbedSpec, ItemFault, Sequence, TokenVectors},
    task::{Pooling, Role},
};

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Tokens to one vector: the poolings side by side.
    Pool(Pool),
    /// A dense layer over each token.
    TokenDense(Dense),
    /// A dense layer over the vector.
    Dense(Dense),
    /// Layer norm of the vector.
    LayerNorm(LayerNorm),
    /// Each token's vector to length 1.
    NormalizeTokens,
    /// The vector to length 1.
    Normalize,
    /// Each token's vector times the weight of its id.
    TokenWeights(Vec<f32>),
    /// Which tokens have a vector at all.
    Mask(TokenMask),
    /// The first so many dimensions of the vector.
    Cut(usize),
}

/// A pooling of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// At least one.
    pub(crate) modes: Vec<Pooling>,
    /// Whether a prompt's tokens count.
    pub(crate) include_prompt: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self { modes: vec![Pooling::default()], include_prompt: true }
    }
}

/// Which tokens of a late-interaction model have a vector. Expansion tokens of a query always do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenMask {
    /// Ids that have none, ascending.
    pub(crate) skipped: Vec<u32>,
    /// Texts that `skipped` is for.
    pub(crate) roles: Vec<Role>,
    /// Where not empty: the only ids of a document that have one, ascending.
    pub(crate) kept: Vec<u32>,
}

/// The steps of one route.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chain {
    /// In order.
    pub(crate) steps: Vec<Step>,
    /// Whether expansion tokens are attended to, and so count without a mask that lets them.
    pub(crate) attend_expansion: bool,
}

impl Chain {
    /// The one pooling that a device may do in the chain's place: it comes first, is single, and counts every token.
    pub(crate) fn device_pooling(&self, spec: &EmbedSpec, sequence: &Sequence) -> Option<Pooling> {
        let Some(Step::Pool(pool)) = self.steps.first() else { return None };
        if !pool.include_prompt && sequence.prompt_tokens > 0 {
            return None;
        }
        match (spec.pooling, &pool.modes[..]) {
            (Some(asked), _) => Some(asked),
            (None, &[one]) => Some(one),
            _ => None,
        }
    }

    /// The pooling that a folder names where it names a single one.
    pub(crate) fn own_pooling(&self) -> Option<Pooling> {
        self.steps.iter().find_map(|step| match step {
            Step::Pool(pool) => match pool.modes[..] {
                [one] => Some(one),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether a prompt's tokens do not count in its pooling.
    pub(crate) fn leaves_prompts_out(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Pool(pool) if !pool.include_prompt))
    }

    /// Whether it pools at all.
    pub(crate) fn pools(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Pool(_)))
    }

    /// Whether its vectors have length 1.
    pub(crate) fn ends_normalized(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Normalize | Step::NormalizeTokens))
    }

    /// Numbers in what it makes of states of `hidden` numbers, or why they do not go through it.
    pub(crate) fn width(&self, hidden: usize) -> Result<usize, String> {
        let mut width = hidden;
        for step in &self.steps {
            match step {
                Step::Pool(pool) => width *= pool.modes.len(),
                Step::TokenDense(dense) | Step::Dense(dense) if dense.inputs != width => {
                    return Err(format!("a Dense module takes {} numbers, it would be given {width}", dense.inputs));
                }
                Step::TokenDense(dense) | Step::Dense(dense) => width = dense.outputs,
                Step::LayerNorm(norm) if norm.weight.len() != width => {
                    return Err(format!("a LayerNorm takes {} numbers, it would be given {width}", norm.weight.len()));
                }
                Step::Cut(most) => width = width.min(*most),
                Step::LayerNorm(_)
                | Step::NormalizeTokens
                | Step::Normalize
                | Step::TokenWeights(_)
                | Step::Mask(_) => {}
            }
        }
        Ok(width)
    }

    /// Token states (row-major, tokens × `width`) to the finished vector of `sequence`.
    ///
    /// # Errors
    /// [`ItemFault::NonFinite`]; [`ItemFault::WrongWant`] where more dimensions are asked for than there are.
    pub(crate) fn vector(
        &self,
        states: &[f32],
        width: usize,
        sequence: &Sequence,
        spec: &EmbedSpec,
    ) -> Result<Vec<f32>, ItemFault> {
        self.finish(Features::new(states, width, sequence, self.attend_expansion), spec, 0)
    }

    /// As [`Self::vector`], from a row that a device pooled ([`Self::device_pooling`]).
    pub(crate) fn vector_of_row(
        &self,
        row: Vec<f32>,
        sequence: &Sequence,
        spec: &EmbedSpec,
    ) -> Result<Vec<f32>, ItemFault> {
        self.finish(Features::of_vector(row, sequence), spec, 1)
    }

    /// As [`Self::vector`], from a vector that no pooling made: a mean of a table's rows.
    pub(crate) fn vector_of_mean(
        &self,
        mean: Vec<f32>,
        sequence: &Sequence,
        spec: &EmbedSpec,
    ) -> Result<Vec<f32>, ItemFault> {
        if spec.pooling.is_some() {
            return Err(ItemFault::WrongWant("another pooling than the mean of its table's rows"));
        }
        self.finish(Features::of_vector(mean, sequence), spec, 0)
    }

    /// A vector that a graph finished inside, all but what the chain ends with: a cut and a norm.
    ///
    /// # Errors
    /// As [`Self::vector`].
    pub(crate) fn end_of_row(
        &self,
        row: Vec<f32>,
        sequence: &Sequence,
        spec: &EmbedSpec,
    ) -> Result<Vec<f32>, ItemFault> {
        self.finish(Features::of_vector(row, sequence), spec, usize::MAX)
    }

    /// The steps from `first` on, as `spec` wants them, to a vector of finite numbers.
    fn finish(&self, mut features: Features<'_>, spec: &EmbedSpec, first: usize) -> Result<Vec<f32>, ItemFault> {
        self.run(&mut features, spec, first)?;
        let vector = features.vector.ok_or(ItemFault::WrongWant("one vector a text"))?;
        all_finite(&vector)?;
        Ok(vector)
    }

    /// What the chain ends with: cuts and norms, which come after a cut that is asked for.
    pub(crate) fn end(&self) -> &[Step] {
        let n = self.steps.iter().rev().take_while(|s| matches!(s, Step::Normalize | Step::Cut(_))).count();
        &self.steps[self.steps.len() - n..]
    }

    /// Numbers that the chain's end leaves of a vector of `width`.
    pub(crate) fn end_width(&self, width: usize) -> usize {
        self.end().iter().fold(width, |width, step| match step {
            Step::Cut(most) => width.min(*most),
            _ => width,
        })
    }

    /// Token states to the vectors of the tokens that count. Steps from the first pooling on are left out.
    ///
    /// # Errors
    /// [`ItemFault::NonFinite`].
    pub(crate) fn tokens(&self, states: &[f32], width: usize, sequence: &Sequence) -> Result<TokenVectors, ItemFault> {
        let mut features = Features::new(states, width, sequence, self.attend_expansion);
        for step in self.steps.iter().take_while(|step| !matches!(step, Step::Pool(_))) {
            features.apply(step)?;
        }
        let kept: Vec<usize> = (0..features.keep.len()).filter(|&t| features.keep[t]).collect();
        let width = features.width;
        let values: Vec<f32> =
            kept.iter().flat_map(|&t| features.tokens[t * width..(t + 1) * width].iter().copied()).collect();
        all_finite(&values)?;
        let tokens = kept.into_iter().map(|t| u32::try_from(t).unwrap_or(u32::MAX)).collect();
        Ok(TokenVectors { dimensions: width, values, tokens })
    }

    /// Runs the steps from `first` on, as `spec` wants them.
    fn run(&self, features: &mut Features<'_>, spec: &EmbedSpec, first: usize) -> Result<(), ItemFault> {
        let end = self.end();
        let body = &self.steps[..self.steps.len() - end.len()];
        for step in body.iter().skip(first) {
            match (step, spec.pooling) {
                (Step::Pool(pool), Some(asked)) => {
                    let pool = Pool { modes: vec![asked], include_prompt: pool.include_prompt };
                    features.apply(&Step::Pool(pool))?;
                }
                _ => features.apply(step)?,
            }
        }
        let Some(vector) = &mut features.vector else { return Ok(()) };
        if let Some(keep) = spec.dimensions {
            if keep == 0 || keep > self.end_width(vector.len()) {
                return Err(ItemFault::WrongWant("so many dimensions: the field must be within those of its vectors"));
            }
            vector.truncate(keep);
        }
        for step in end {
            match step {
                Step::Normalize if spec.normalize == Some(false) => {}
                // A number of dimensions that is asked for stands in the folder's place.
                Step::Cut(_) if spec.dimensions.is_some() => {}
                _ => features.apply(step)?,
            }
        }
        if spec.normalize == Some(true)
            && let Some(vector) = &mut features.vector
        {
            normalize(vector);
        }
        Ok(())
    }
}

/// What the steps work on.
struct Features<'a> {
    sequence: &'a Sequence,
    /// Row-major (tokens × width).
    tokens: Cow<'a, [f32]>,
    width: usize,
    /// Which tokens count.
    keep: Vec<bool>,
    /// Sum of the tokens' weights, where they have some.
    weights: Option<f64>,
    vector: Option<Vec<f32>>,
}

impl<'a> Features<'a> {
    fn new(tokens: &'a [f32], width: usize, sequence: &'a Sequence, attend_expansion: bool) -> Self {
        let n = tokens.len().checked_div(width).unwrap_or(0);
        let attended = if attend_expansion { n } else { n.saturating_sub(sequence.expansion) };
        let keep = (0..n).map(|t| t < attended).collect();
        Self { sequence, tokens: Cow::Borrowed(tokens), width, keep, weights: None, vector: None }
    }

    /// Nothing but a vector.
    fn of_vector(vector: Vec<f32>, sequence: &'a Sequence) -> Self {
        Self { vector: Some(vector), ..Self::new(&[], 0, sequence, false) }
    }

    fn apply(&mut self, step: &Step) -> Result<(), ItemFault> {
        match step {
            Step::Pool(pool) => self.pool(pool),
            Step::TokenDense(dense) => {
                let mut all = Vec::with_capacity(self.keep.len() * dense.outputs);
                for row in self.tokens.chunks_exact(self.width.max(1)) {
                    all.extend(dense.apply(row)?);
                }
                (self.tokens, self.width) = (Cow::Owned(all), dense.outputs);
            }
            Step::NormalizeTokens => self.tokens.to_mut().chunks_exact_mut(self.width.max(1)).for_each(normalize),
            Step::TokenWeights(weights) => self.weigh(weights),
            Step::Mask(mask) => self.mask(mask),
            Step::Dense(_) | Step::LayerNorm(_) | Step::Normalize | Step::Cut(_) => {
                let Some(vector) = &mut self.vector else { return Ok(()) };
                match step {
                    Step::Dense(dense) => *vector = dense.apply(vector)?,
                    Step::LayerNorm(norm) => norm.apply(vector),
                    Step::Cut(most) => vector.truncate(*most),
                    _ => normalize(vector),
                }
            }
        }
        Ok(())
    }

    fn pool(&mut self, pool_by: &Pool) {
        let first = if pool_by.include_prompt { 0 } else { self.sequence.prompt_tokens };
        let tokens =
            TokenStates { states: &self.tokens, width: self.width, keep: &self.keep, first, weights: self.weights };
        self.vector = Some(pool_by.modes.iter().flat_map(|&mode| pool(tokens, mode)).collect());
    }

    fn weigh(&mut self, weights: &[f32]) {
        let of = |id: u32| weights.get(id as usize).copied().unwrap_or(1.0);
        let mut sum = 0.0;
        for (t, row) in self.tokens.to_mut().chunks_exact_mut(self.width.max(1)).enumerate() {
            let weight = self.sequence.ids.get(t).map_or(1.0, |&id| of(id));
            row.iter_mut().for_each(|x| *x *= weight);
            sum += f64::from(weight);
        }
        self.weights = Some(sum);
    }

    fn mask(&mut self, mask: &TokenMask) {
        let role = self.sequence.role;
        let n = self.keep.len();
        if role == Some(Role::Query) {
            self.keep[n.saturating_sub(self.sequence.expansion)..].fill(true);
        }
        let skips = mask.roles.contains(&role.unwrap_or(Role::Document));
        for (keep, id) in self.keep.iter_mut().zip(&self.sequence.ids) {
            *keep &= !(skips && mask.skipped.binary_search(id).is_ok());
            *keep &= role == Some(Role::Query) || mask.kept.is_empty() || mask.kept.binary_search(id).is_ok();
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
