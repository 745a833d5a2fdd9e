//! How soon people are told of a call that nobody may make.

use anyhow::Result;

use super::super::contestants::{Variant, selvedge};
use super::super::results::{Bound, Results};
use super::super::server::free_addresses;
use super::Context;

/// How old the telling record is, in milliseconds. The newest of all moves event time and is judged at once; one amid usual traffic,
/// whose newest is some 450 ms old, waits until that has taken event time on.
const AGES: [(&str, u64); 2] = [("newest", 0), ("amid others", 700)];

/// From the acknowledgement of the batch that tells of it to the webhook that says so.
pub(super) fn alerts(context: &Context<'_>, results: &mut Results) -> Result<()> {
    for (which, age) in AGES {
        told_of(context, which, age, results)?;
    }
    Ok(())
}

fn told_of(context: &Context<'_>, which: &str, age: u64, results: &mut Results) -> Result<()> {
    let [webhook] = free_addresses()?;
    let server =
        selvedge(context.bench, &Variant { name: "alerting", webhook: Some(webhook), ..Variant::USUAL })?;
    let mut generator = context.bench.program("alerts");
    generator.args([server.addresses.grpc.to_string(), webhook.to_string()]);
    generator.args(["--alerts", &context.options.alerts.to_string(), "--age", &age.to_string()]);
    let outcome = context.bench.generator(&mut generator)?;
    let millis = |what: &str| outcome[what].as_f64().map(|micros| micros / 1e3);
    let said = (outcome["alerts"].as_f64(), millis("p50_us"), millis("p99_us"), millis("max_us"));
    let (Some(told), Some(half), Some(most), Some(longest)) = said else {
        anyhow::bail!("the generator said only {outcome}");
    };
    results.figure(&format!("alerts, {which}: told of"), "", vec![told]);
    results.figure(&format!("alerts, {which}: p50"), "ms", vec![half]);
    let most = results.figure(&format!("alerts, {which}: p99"), "ms", vec![most]);
    results.figure(&format!("alerts, {which}: longest"), "ms", vec![longest]);
    let goal = format!("hard rule, {which} record: acknowledgement to webhook, p99");
    results.goal(&goal, most, Bound::AtMost(50.0), "ms");
    Ok(())
}
