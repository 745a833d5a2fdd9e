//! `selvedge policy suggest`: deny by default, from what normally happens.

use std::io::Write;
use std::path::Path;

use selvedge_act::visible;
use selvedge_policy::{Deployment, RenderContext, Suggestion, suggest};

use super::recorded;
use crate::cli::{IstioDeployment, SuggestArgs};
use crate::exit::Outcome;
use crate::output;

pub(super) fn run(args: &SuggestArgs) -> Outcome {
    let recorded = recorded::play(&args.learn, &[], args.config.as_deref())?;
    let deployment = match args.deployment {
        IstioDeployment::Sidecar => Deployment::Sidecar,
        IstioDeployment::Ambient => Deployment::Ambient,
        IstioDeployment::Waypoint => Deployment::Waypoint,
    };
    let context = RenderContext {
        selector_label: args.mesh.selector_label.clone(),
        root_namespace: args.mesh.root_namespace.clone(),
        trust_domain: args.mesh.trust_domain.clone(),
        deployment,
        ..RenderContext::default()
    };
    let policies_file = format!("{}.policies.yaml", args.namespace);
    let suggestion = suggest(&args.namespace, &recorded.taught, &context, &policies_file)
        .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    for warning in &recorded.warnings {
        writeln!(output::stderr(), "note: {}", visible(warning))?;
    }
    match &args.out {
        Some(folder) => {
            let cases_file = format!("{}.cases.yaml", args.namespace);
            std::fs::create_dir_all(folder)
                .map_err(|error| anyhow::anyhow!("cannot make {}: {error}", folder.display()))?;
            write(&folder.join(&policies_file), &suggestion.policies)?;
            write(&folder.join(&cases_file), &suggestion.cases)?;
            let mut out = output::stdout();
            tell(&mut out, &suggestion)?;
            for file in [policies_file, cases_file] {
                writeln!(out, "written     {}", folder.join(file).display())?;
            }
        }
        None => {
            output::stdout().write_all(suggestion.policies.as_bytes())?;
            tell(&mut output::stderr(), &suggestion)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))
}

/// The policies tried on the very calls that they were written from.
fn tell(out: &mut impl Write, suggestion: &Suggestion) -> std::io::Result<()> {
    let Suggestion { allowed, denied, undecided, .. } = suggestion;
    writeln!(
        out,
        "tried on    {} recorded calls: {allowed} allowed, {denied} denied, {undecided} undecided",
        allowed + denied + undecided
    )?;
    for kind in &suggestion.denied_calls {
        let normal = if kind.normal { ", normal" } else { "" };
        let (caller, callee) = (visible(&kind.caller), visible(&kind.callee));
        writeln!(
            out,
            "  denied    {caller} -> {callee} {}: {}{normal}",
            visible(&kind.operation),
            kind.calls
        )?;
    }
    for warning in &suggestion.warnings {
        writeln!(out, "look at     {}", visible(warning))?;
    }
    Ok(())
}
