//! The commands: inputs in, one printed answer out.

mod bench;
mod fleet;
mod labels;
mod print;
mod scores;
mod tokens;
mod vectors;

pub(crate) use print::{error, print};

use crate::{
    args::CommandArgs,
    context::CommandContext,
    exit::{CommandFailure, Exit},
};

/// Runs a command to its exit code.
pub(crate) fn run(command: &CommandArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    match command {
        CommandArgs::Rerank(args) => scores::rerank(args, context),
        CommandArgs::Similarity(args) => scores::similarity(args, context),
        CommandArgs::Embed(args) => vectors::embed(args, context),
        CommandArgs::EmbedTokens(args) => vectors::embed_tokens(args, context),
        CommandArgs::Sparse(args) => vectors::sparse(args, context),
        CommandArgs::Classify(args) => labels::classify(args, context),
        CommandArgs::Tag(args) => labels::tag(args, context),
        CommandArgs::Tokenize(args) => tokens::tokenize(args, context),
        CommandArgs::Models(args) => fleet::models(args, context),
        CommandArgs::Probe(args) => fleet::probe(args, context),
        CommandArgs::Bench(args) => bench::bench(args, context),
    }
}
