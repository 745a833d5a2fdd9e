//! Arguments of `baseline`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Form;

/// Arguments of `baseline`.
#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    #[command(subcommand)]
    pub(crate) command: BaselineCommand,
}

/// Whose checkpoints.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// Configuration file of the engine: its `journal` says where the checkpoints are.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which edges.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct EdgesArgs {
    /// An edge as `show` names it, such as 'shop/web -> shop/cart'. May be repeated; `*` stands for any text.
    #[arg(long = "edge", value_name = "EDGE")]
    pub(crate) edges: Vec<String>,
    /// Every edge.
    #[arg(long)]
    pub(crate) all: bool,
}

/// What to do with what was learned. What changes it needs the engine to be stopped; it goes on with the change, and
/// `versions` has what was before.
#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Show what is known of each edge.
    Show {
        /// A checkpoint or an exported baseline, instead of the newest checkpoint.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        format: Form,
        #[command(flatten)]
        state: StateArgs,
    },
    /// List the checkpoints that are kept: each is a version to go back to with `import`.
    Versions {
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        format: Form,
        #[command(flatten)]
        state: StateArgs,
    },
    /// Say that edges are as they should be.
    Approve {
        #[command(flatten)]
        edges: EdgesArgs,
        #[command(flatten)]
        state: StateArgs,
    },
    /// Forget edges: the next call on one is the first.
    Forget {
        #[command(flatten)]
        edges: EdgesArgs,
        #[command(flatten)]
        state: StateArgs,
    },
    /// Write what is known, without the state of the stream, into a file that another Selvedge can begin with.
    Export {
        /// The file to write.
        out: PathBuf,
        /// A checkpoint, instead of the newest one.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        #[command(flatten)]
        state: StateArgs,
    },
    /// Put what a file knows, an export or a checkpoint, in the place of what is known.
    Import {
        /// The file to read.
        file: PathBuf,
        #[command(flatten)]
        state: StateArgs,
    },
}
