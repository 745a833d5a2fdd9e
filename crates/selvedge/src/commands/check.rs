//! `selvedge check`: is this configuration usable?

use std::io::Write as _;

use crate::cli::CheckArgs;
use crate::exit::Outcome;
use crate::{config, output};

pub(crate) fn run(args: &CheckArgs) -> Outcome {
    let config = config::load(Some(&args.config))?;
    let rules = config.rules.iter().count();
    let act = &config.act;
    let sinks = [
        ("terminal", act.terminal.is_some()),
        ("jsonl", act.jsonl.is_some()),
        ("alertmanager", act.alertmanager.is_some()),
        ("webhook", act.webhook.is_some()),
        ("pagerduty", act.pagerduty.is_some()),
        ("slack", act.slack.is_some()),
        ("kafka", config.kafka.alerts()),
    ];
    let sinks: Vec<&str> =
        sinks.iter().filter(|(_, configured)| *configured).map(|(name, _)| *name).collect();
    let sinks =
        if sinks.is_empty() { "no alert sink".to_owned() } else { format!("alerts to {}", sinks.join(", ")) };
    let sql = match &config.sql {
        Some(sql) => format!("SQL on {}", sql.endpoint),
        None => "no SQL".to_owned(),
    };
    let topics = if config.kafka.reads() { ", topics of Kafka" } else { "" };
    writeln!(output::stdout(), "{} is valid: {rules} rules, {sinks}, {sql}{topics}", args.config.display())?;
    Ok(())
}
