//! The commands: inputs in, one printed answer out.

mod fleet;
mod labels;
mod print;
mod scores;
mod tokens;
mod vectors;

pub(crate) use print::{error, print};

use crate::{
    args::Command,
    bench,
    context::CommandContext,
    exit::{CommandFailure, Exit},
};

/// Runs a command to its exit code.
pub(crate) fn run(command: &Command, context: &CommandContext) -> Result<Exit, CommandFailure> {
    match command {
        Command::Rerank(args) => scores::rerank(args, context),
        Command::Similarity(args) => scores::similarity(args, context),
        Command::Embed(args) => vectors::embed(args, context),
        Command::Sparse(args) => vectors::sparse(args, context),
        Command::Classify(args) => labels::classify(args, context),
        Command::Tag(args) => labels::tag(args, context),
        Command::Tokenize(args) => tokens::tokenize(args, context),
        Command::Models(args) => fleet::models(args, context),
        Command::Probe(args) => fleet::probe(args, context),
        Command::Bench(args) => bench::run(args, context),
    }
}
