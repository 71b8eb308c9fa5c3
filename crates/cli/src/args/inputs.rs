//! Where texts come from: arguments, files or standard input.

use std::path::PathBuf;

/// Input flags.
///
/// Texts are taken from the arguments, then from each `--file`; with neither,
/// from standard input if that is no terminal.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct InputArgs {
    /// File of texts, one a line; .jsonl files hold JSON a line; - is standard input
    #[arg(long, short, visible_alias = "docs", value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Read files and standard input as JSON Lines: a string or an object a line
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Field of the objects that holds the text; `id` is kept as the item's id
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(crate) field: String,
}
