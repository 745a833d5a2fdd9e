//! Which policies are about none of the calls: with a wrong namespace or label a policy denies nothing, and looks like a
//! harmless one.

use std::collections::BTreeMap;

use selvedge_policy::{MeshSettings, PolicySet, PolicyVerdict, TrafficRow};
use serde_json::{Value, json};

/// Istio's policies by name, each as one that denies everything at the same workloads: what passes that one, the policy
/// is not about.
#[derive(Default)]
pub(super) struct Scopes(Vec<(String, PolicySet)>);

impl Scopes {
    /// Adds the policies of a file that was read as policies before.
    pub(super) fn add(&mut self, text: &str, settings: &MeshSettings) -> anyhow::Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
        let mut policies = Vec::new();
        documents.into_iter().for_each(|document| collect(document, &mut policies));
        for mut policy in policies {
            let part = |key: &str| policy["metadata"][key].as_str().unwrap_or_default();
            let name = format!("{}/{}", part("namespace"), part("name"));
            policy["spec"]["action"] = "DENY".into();
            policy["spec"]["rules"] = json!([{}]);
            let denies = PolicySet::parse_in(&policy.to_string(), &name, settings)
                .map_err(|problems| super::told(&problems))?;
            self.0.push((name, denies));
        }
        Ok(())
    }

    /// Those that select none of the calls for certain.
    pub(super) fn idle(&self, rows: &[&TrafficRow]) -> Vec<&str> {
        // Which policies a call meets depends on where it goes, and on nothing else.
        let callees: BTreeMap<_, &TrafficRow> =
            rows.iter().map(|row| ((&row.destination, row.external), *row)).collect();
        let passes =
            |denies: &PolicySet| callees.values().all(|row| denies.verdict(row) == PolicyVerdict::Allowed);
        self.0.iter().filter(|(_, denies)| passes(denies)).map(|(name, _)| name.as_str()).collect()
    }
}

fn collect(document: Value, policies: &mut Vec<Value>) {
    match document["kind"].as_str() {
        Some("AuthorizationPolicy") => policies.push(document),
        Some(list) if list.ends_with("List") => {
            let items = document["items"].as_array().cloned().unwrap_or_default();
            items.into_iter().for_each(|item| collect(item, policies));
        }
        _ => {}
    }
}
