//! `selvedge alerts test`: does an alert arrive?

use std::io::Write as _;
use std::sync::Arc;

use crate::cli::{AlertsArgs, AlertsCommand};
use crate::clock::SystemClock;
use crate::exit::Outcome;
use crate::{config, output};

pub(crate) fn run(args: &AlertsArgs) -> Outcome {
    let AlertsCommand::Test { config: path } = &args.command;
    let config = config::load(Some(path))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Arc::new(SystemClock::start());
    let fire = async { anyhow::Ok(selvedge_act::test_fire(config.act, config.kafka.sinks()?, clock).await) };
    let results = runtime.block_on(fire)?;
    let mut out = output::stdout();
    let mut failed = 0;
    for (sink, result) in &results {
        match result {
            Ok(()) => writeln!(out, "{sink}: delivered")?,
            Err(error) => {
                failed += 1;
                writeln!(out, "{sink}: {error}")?;
            }
        }
    }
    if results.is_empty() {
        return Err(anyhow::anyhow!(
            "{} configures no alert sink; see `alerts:` in docs/configuration.md",
            path.display()
        )
        .into());
    }
    if failed > 0 {
        return Err(anyhow::anyhow!("{failed} of {} sinks did not take the test alert", results.len()).into());
    }
    Ok(())
}
