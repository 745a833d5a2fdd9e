//! `selvedge rules`: what is looked for, and how loud it is.

use std::io::Write as _;

use crate::cli::{RulesArgs, RulesCommand};
use crate::exit::Outcome;
use crate::{config, output};

pub(crate) fn run(args: &RulesArgs) -> Outcome {
    let RulesCommand::List { config } = &args.command;
    let config = config::load(config.as_deref())?;
    let mut out = output::stdout();
    writeln!(out, "{:<24} {:<9} {:<4} {:<28} TITLE", "KIND", "LEVEL", "ON", "ATT&CK")?;
    for (kind, rule) in config.rules.iter() {
        let on = if rule.enabled() { "yes" } else { "no" };
        let techniques = rule.techniques().join(" ");
        writeln!(
            out,
            "{:<24} {:<9} {on:<4} {techniques:<28} {}",
            kind.name(),
            rule.level().name(),
            rule.title()
        )?;
    }
    Ok(())
}
