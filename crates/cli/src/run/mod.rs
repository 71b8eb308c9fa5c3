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
    exit::{Exit, Failure},
    session::Session,
};

/// Runs a command to its exit code.
pub(crate) fn run(command: &Command, session: &Session) -> Result<Exit, Failure> {
    match command {
        Command::Rerank(args) => scores::rerank(args, session),
        Command::Similarity(args) => scores::similarity(args, session),
        Command::Embed(args) => vectors::embed(args, session),
        Command::Sparse(args) => vectors::sparse(args, session),
        Command::Classify(args) => labels::classify(args, session),
        Command::Tag(args) => labels::tag(args, session),
        Command::Tokenize(args) => tokens::tokenize(args, session),
        Command::Models(args) => fleet::models(args, session),
        Command::Probe(args) => fleet::probe(args, session),
        Command::Bench(args) => bench::run(args, session),
    }
}
