//! Names of the inputs and outputs of the graphs that are written here, as the host fills and reads them.

/// Name of the output that every graph has.
pub(crate) const OUTPUT: &str = "output";
/// Output of an embedding graph: one row a sequence, which input [`PICKED_ROW`](input::PICKED_ROW) names.
pub(crate) const PICKED: &str = "picked";
/// Output of an embedding graph: one pooled row a sequence.
pub(crate) const POOLED: &str = "pooled";

/// Names of inputs.
pub(crate) mod input {
    /// (tokens) i32.
    pub(crate) const IDS: &str = "input_ids";
    /// (tokens) i32: `position · segments + segment`.
    pub(crate) const PLACES: &str = "place_ids";
    /// (sequences + 1) i32: where each sequence starts, and where the last ends.
    pub(crate) const CUMULATIVE: &str = "cumulative";
    /// (sequences) i32: row of each sequence's first token.
    pub(crate) const FIRST: &str = "first";
    /// (sequences) i32: row of each sequence's last token, the pad passed over.
    pub(crate) const FINAL: &str = "final";
    /// (sequences) i32: how many tokens of each, the first, are attended to. Only where some are not.
    pub(crate) const KEYS: &str = "keys";
    /// CUDA only: (sequences × longest) i32, places of a padded batch, those of tokens first.
    pub(crate) const TOKEN_OFFSET: &str = "token_offset";
    /// (sequences) i32: the row of each that is wanted.
    pub(crate) const PICKED_ROW: &str = "picked_row";
    /// (1 × tokens) i32: which sequence each token belongs to.
    pub(crate) const OWNER: &str = "owner";
    /// (sequences × 1) i32: 0, 1, 2, …
    pub(crate) const SEQUENCE: &str = "sequence";
    /// (sequences × 1) f32: one over each length.
    pub(crate) const SHARE: &str = "share";
    /// (rows) i32: 0, 1, 2, …
    pub(crate) const ROW: &str = "row";
    /// (rows) i32: last row of each row's group.
    pub(crate) const LAST: &str = "last";
    /// (groups) i32: first row of each group.
    pub(crate) const GROUP: &str = "group";
    /// (32 · chunks) i32: token at each place of each chunk, place by place.
    pub(crate) const CHUNKED: &str = "chunked";
    /// (words) i32: row of the token that each word of each text is read from.
    pub(crate) const WORD_ROW: &str = "word_row";
    /// (sequences + 1) i32: where each text's words start, and where the last's end.
    pub(crate) const WORD_BOUNDS: &str = "word_bounds";
    /// (labels) i32: row of the token that each label of each text is read from.
    pub(crate) const LABEL_ROW: &str = "label_row";
    /// (sequences + 1) i32: where each text's labels start, and where the last's end.
    pub(crate) const LABEL_BOUNDS: &str = "label_bounds";
    /// (pairs) i32: the word of each pair of a word and a label of its text, word by word.
    pub(crate) const PAIR_WORD: &str = "pair_word";
    /// (pairs) i32: the label of each.
    pub(crate) const PAIR_LABEL: &str = "pair_label";
}
