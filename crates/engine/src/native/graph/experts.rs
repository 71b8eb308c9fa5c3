//! A layer of experts: each token goes through the few that its router weighs most.
//!
//! ```text
//! weights[E, T] = softmax(x·Rᵀ)ᵀ, all but the heaviest of a token 0
//! for each expert:  rows = tokens of a weight
//!                   sum[rows] += weight · (act(x[rows]·upᵀ)·down)
//! ```
//!
//! An expert's products have a row for each of its tokens alone. Experts are added in their order, so that a token's sum
//! does not depend on what else is in the batch. On CUDA two operators of ours do the same ([`on_cuda`](super::super::kernel)).

use super::{
    super::{
        family::{Expert, Experts},
        kernel::{EXPERTS, ROUTED, cuda_attribute as attribute},
    },
    on_cuda,
    parts::{activated, linear, matrix, stored, vector},
};
use crate::{
    error::LoadError,
    folder::weights::Weights,
    onnx::{Attr, Builder, Edge, Elem, ONNX, SORTIE},
};

/// Writes the experts over `x` (T × width) and returns their sum, without the bias.
pub(super) fn experts(b: &mut Builder, w: &Weights, edge: &str, e: &Experts, x: &str) -> Result<Edge, LoadError> {
    if b.own().kernels {
        return by_kernels(b, w, edge, e, x);
    }
    let at = |part: &str| format!("{edge}/{part}");
    let rows_axis = b.integers("axis/0", &[0]);
    let routed = linear(b, w, &at("router"), &e.router, x)?;
    let shares = b.node(ONNX, "Softmax", &at("shares"), &[&routed], &[Attr::Int("axis", -1)]);
    let chosen = b.integers(at("chosen"), &[e.chosen as i64]);
    let (heaviest, which) = (at("heaviest"), at("which"));
    b.nodes(ONNX, "TopK", &[&heaviest, &which], &[&shares, &chosen], &[]);
    let none = b.node(ONNX, "Sub", &at("none"), &[&shares, &shares], &[]);
    let kept = b.node(ONNX, "ScatterElements", &at("kept"), &[&none, &which, &heaviest], &[Attr::Int("axis", 1)]);
    let by_expert = b.node(ONNX, "Transpose", &at("by_expert"), &[&kept], &[]);
    let columns: Vec<String> = (0..e.each.len()).map(|i| at(&format!("column{i}"))).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    b.nodes(ONNX, "Split", &columns, &[&by_expert], &[Attr::Int("axis", 0)]);

    let mut sum = b.node(ONNX, "Sub", &at("nothing"), &[x, x], &[]);
    for (i, (expert, column)) in e.each.iter().zip(columns).enumerate() {
        let at = |part: &str| format!("{edge}/{i}/{part}");
        let Expert { up, down, rows, stored } = expert;
        let weights = b.node(ONNX, "Squeeze", &at("weights"), &[column, &rows_axis], &[]);
        let places = b.node(ONNX, "NonZero", &at("places"), &[&weights], &[]);
        let tokens = b.node(ONNX, "Squeeze", &at("tokens"), &[&places, &rows_axis], &[]);
        let read = b.node(ONNX, "Gather", &at("read"), &[x, &tokens], &[]);
        let inner = linear(b, w, &at("up"), up, &read)?;
        let inner = activated(b, &at("activated"), e.act, &inner);
        let data = w.get_rows(down, [*stored, up.from], rows.clone())?;
        let weight = b.weight(at("down_weight"), &[up.to(), up.from], data);
        let given = b.node(ONNX, "MatMul", &at("down"), &[&inner, &weight], &[]);
        // (1 × rows) to (rows × 1), as both are wanted below.
        let places = b.node(ONNX, "Transpose", &at("place_column"), &[&places], &[]);
        let weights = b.node(ONNX, "Gather", &at("weight_column"), &[&weights, &places], &[]);
        let given = b.node(ONNX, "Mul", &at("given"), &[&given, &weights], &[]);
        sum = b.node(ONNX, "ScatterND", &at("sum"), &[&sum, &places, &given], &[Attr::Word("reduction", "add")]);
    }
    Ok(sum)
}

/// The same by our own kernels: what the router needs is in f32, weights of experts follow each other in two tensors.
fn by_kernels(b: &mut Builder, w: &Weights, edge: &str, e: &Experts, x: &str) -> Result<Edge, LoadError> {
    let at = |part: &str| format!("{edge}/{part}");
    let (routes, bias) = (stored(w, &e.router)?, vector(w, &e.router)?);
    let router = b.weight_in(Elem::F32, at("router_weight"), &routes.shape, routes.data);
    let bias = match bias.is_empty() {
        true => Edge::new(),
        false => b.weight_in(Elem::F32, at("router_bias"), &[bias.len()], bias),
    };
    let (chosen, shares, order, starts) = (at("chosen"), at("shares"), at("order"), at("starts"));
    let inputs = [x, &router, &bias];
    let of = [Attr::Int(attribute::CHOSEN, e.chosen as i64)];
    b.nodes(SORTIE, ROUTED, &[&chosen, &shares, &order, &starts], on_cuda::given(&inputs), &of);

    let (mut up, mut down) = (Vec::new(), Vec::new());
    for expert in &e.each {
        if expert.up.bias.is_some() {
            return Err(LoadError::Runtime("experts whose first product has a bias are not served on CUDA".into()));
        }
        up.extend(matrix(w, &expert.up)?.data);
        down.extend(w.get_rows(&expert.down, [expert.stored, expert.up.from], expert.rows.clone())?);
    }
    let (width, inner) = (e.each.first().map_or(0, |expert| expert.up.from), e.inner());
    let up = b.weight(at("up_weights"), &[e.each.len(), width, inner], up);
    let down = b.weight(at("down_weights"), &[e.each.len(), inner, width], down);
    let (sum, between, given) = (at("sum"), at("between"), at("given"));
    let inputs = [x, &up, &down, &shares, &order, &starts];
    b.nodes(SORTIE, EXPERTS, &[&sum, &between, &given], &inputs, &[Attr::Int(attribute::ACT, on_cuda::code(e.act))]);
    Ok(sum)
}
