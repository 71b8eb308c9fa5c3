//! The command line. Parsing only: nothing here opens a file or a socket.

mod commands;
mod connection;
mod inputs;
mod text;

pub(crate) use commands::{
    ClassifyArgs, EmbedArgs, EmbedTokensArgs, ModelsArgs, ProbeArgs, RerankArgs, SimilarityArgs, SparseArgs, TagArgs,
    TokenizeArgs,
};
pub(crate) use connection::ConnectionArgs;
pub(crate) use inputs::InputArgs;
pub(crate) use text::{ActivationArg, AggregationArg, PoolingArg, TextArgs, WindowScoreArg};

use std::ffi::OsStr;

use clap::{Parser, Subcommand};

use crate::exit;

/// Rerank, embed, classify and tag texts on a fleet of sortie servers.
#[derive(Debug, Parser)]
#[command(name = "sortie", version, after_help = exit::HELP, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct SortieArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
}

/// What to print.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print one JSON document for programs instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Add where the time went: chunks, servers, tokens, queue, tokenize, compute
    #[arg(long, global = true)]
    pub(crate) timings: bool,
    /// Print answers and errors, nothing else
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log to stderr what the client does (-vv for more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Order documents by how well they answer a query
    Rerank(RerankArgs),
    /// Turn texts into dense vectors
    Embed(EmbedArgs),
    /// Turn texts into vectors of their tokens, as late-interaction models compare them
    EmbedTokens(EmbedTokensArgs),
    /// Turn texts into sparse vectors over the vocabulary
    Sparse(SparseArgs),
    /// Score texts or pairs of texts against the model's labels
    Classify(ClassifyArgs),
    /// Find labelled spans in texts
    Tag(TagArgs),
    /// Compare one text with many by the cosine of their vectors
    Similarity(SimilarityArgs),
    /// Show how the model's tokenizer reads texts
    Tokenize(TokenizeArgs),
    /// List the models of every endpoint
    Models(ModelsArgs),
    /// Ask every endpoint how loaded a model is
    Probe(ProbeArgs),
    /// Measure a fleet under load, with several ways of spreading jobs over it
    Bench(Box<sortie_lab::bench::BenchArgs>),
}

/// A variable that is set and blank is as good as unset: orchestrators set all that they know of.
pub(crate) fn unset_blank(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let blank =
            |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
        if arg.get_env().is_some_and(blank) { arg.env(None::<&'static str>) } else { arg }
    });
    command.mut_subcommands(unset_blank)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        SortieArgs::command().debug_assert();
    }

    #[test]
    fn connection_flags_stand_before_or_after_the_command() {
        for text in ["sortie --endpoint http://a:1 rerank q d", "sortie rerank q d --endpoint http://a:1"] {
            let line = SortieArgs::try_parse_from(text.split(' ')).unwrap();
            assert_eq!(line.connection.endpoint, ["http://a:1"]);
        }
    }

    #[test]
    fn help_never_shows_the_token_of_the_environment() {
        let mut command = SortieArgs::command();
        let arg = command.get_arguments().find(|arg| arg.get_id() == "token").unwrap();
        assert!(arg.is_hide_env_values_set());
        assert!(command.render_long_help().to_string().contains("SORTIE_TOKEN"));
    }
}
