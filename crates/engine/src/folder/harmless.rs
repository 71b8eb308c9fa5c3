//! Keys that libraries write or obey and that change no number here, each with the reason.

/// What is said of a key that is in no list: nobody here knows what it is for.
const UNKNOWN: &str = "not known here";

/// Keys and why they are not obeyed.
const REASONS: &[(&[&str], &str)] = &[
    (&["padding_side", "pad_token_type_id", "pad_to_multiple_of", "padding"], "nothing is padded here"),
    (&["clean_up_tokenization_spaces", "errors"], "changes decoding only"),
    (&["trim_offsets"], "changes where a token is said to lie, not its id"),
    (
        &["max_length", "stride", "truncation_strategy", "return_token_type_ids"],
        "saved from one call of the library; each call brings its own",
    ),
    (
        &["name_or_path", "special_tokens_map_file", "tokenizer_file", "is_local", "local_files_only", "backend"],
        "where the tokenizer was loaded from, and by what",
    ),
    (&["processor_class", "auto_map", "use_fast"], "which class a library loads"),
    (&["do_basic_tokenize", "never_split"], "for a class in Python alone, which transformers 5 no longer has"),
    (&["chat_template"], "for conversations, and for the pairs of a model with LogitScore"),
];

/// Why the key is not obeyed.
pub(super) fn why(key: &str) -> &'static str {
    REASONS.iter().find(|(keys, _)| keys.contains(&key)).map_or(UNKNOWN, |(_, why)| why)
}
