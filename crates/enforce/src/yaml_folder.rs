//! The live quarantines as files of one dialect, for a GitOps repository or whoever else applies them.

use std::time::{Duration, UNIX_EPOCH};

use selvedge_model::{ObservedTime, Quarantine};
use selvedge_policy::{RenderContext, Target, render};

use crate::yaml_driver::{RenderedFile, YamlDriver};

/// Where files go and what they say.
#[derive(Debug)]
pub struct YamlFolder {
    /// Writes them.
    pub driver: YamlDriver,
    /// For which enforcement point.
    pub target: Target,
    /// What it needs to know of the mesh.
    pub context: RenderContext,
}

/// A quarantine that the folder does not hold as it should, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten {
    /// Its id; empty when it is about the folder as a whole.
    pub(crate) id: String,
    /// Why.
    pub(crate) why: String,
}

impl YamlFolder {
    /// Makes the folder hold the live ones, and nothing else of ours.
    pub(crate) async fn apply<'q>(&self, live: impl Iterator<Item = &'q Quarantine>) -> Vec<Unwritten> {
        let (mut files, mut unwritten) = (Vec::new(), Vec::new());
        for quarantine in live {
            let context = RenderContext {
                expires_at: quarantine.expires.map_or_else(String::new, rfc3339),
                // Not the present: the same quarantine is the same file.
                now: rfc3339(quarantine.created),
                ..self.context.clone()
            };
            match render(self.target, quarantine, &context, &[]) {
                Ok(rendered) => files.push(RenderedFile {
                    name: format!("{}.yaml", quarantine.id),
                    expires: context.expires_at,
                    text: rendered.text,
                }),
                Err(refusal) => {
                    unwritten.push(Unwritten { id: quarantine.id.clone(), why: refusal.reasons.join("; ") })
                }
            }
        }
        match self.driver.apply(&files).await {
            Ok(report) => {
                let of_file = |name: &str, why: String| Unwritten {
                    id: name.trim_end_matches(".yaml").to_owned(),
                    why,
                };
                unwritten.extend(report.refused.iter().map(|one| of_file(&one.name, one.reason.to_string())));
                unwritten.extend(
                    report.failed.iter().map(|one| of_file(&one.name, format!("{one}: {}", one.source))),
                );
                unwritten.extend(
                    report
                        .git_failure
                        .iter()
                        .map(|error| Unwritten { id: String::new(), why: error.to_string() }),
                );
            }
            Err(error) => unwritten.push(Unwritten { id: String::new(), why: error.to_string() }),
        }
        unwritten
    }
}

fn rfc3339(at: ObservedTime) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at.0)).to_string()
}
