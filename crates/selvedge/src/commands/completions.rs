//! `selvedge completions`: a completion script for a shell.

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::Outcome;
use crate::output;

pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    clap_complete::generate(args.shell, &mut Cli::command(), "selvedge", &mut output::stdout());
    Ok(())
}
