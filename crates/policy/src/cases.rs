//! Policy tests: requests with what should become of them, judged offline against policies.
//!
//! ```yaml
//! policies: [cart.yaml]          # files, or the policies themselves
//! cases:
//! - name: courier reads carts
//!   given:
//!     source: {principal: mesh.example/ns/store/sa/courier}
//!     destination: {namespace: store, workload: cart}
//!     method: GET
//!     path: /carts/7
//!     port: 8080
//!   expect: allow                # or deny; with `policy: NAME` to say by which
//! ```

use selvedge_model::{Endpoint, IdentitySource};

use crate::dialect::{Facts, Keys, MeshSettings, Path, Peer, PolicyError, PolicySet, PolicyVerdict, Reader};
use crate::traffic::TrafficRow;
use crate::yaml::{Kind, Node, documents};

/// Cases of one file; a file with more is refused.
const CASES_MAX: usize = 100_000;

/// A file of cases.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFile {
    policy_files: Vec<String>,
    inline: PolicySet,
    cases: Vec<Case>,
}

/// What should become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
}

/// A request with what should become of it.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    name: String,
    line: u64,
    row: TrafficRow,
    path: String,
    host: String,
    port: Option<u16>,
    expect: Expectation,
    policy: Option<String>,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Its line in the file.
    pub line: u64,
    /// It went as expected.
    pub passed: bool,
    /// What happened, for people.
    pub message: String,
}

impl CaseFile {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// Everything that is wrong with the file and the policies in it.
    pub fn parse(text: &str, file_name: &str, settings: &MeshSettings) -> Result<Self, Vec<PolicyError>> {
        let mut reader = Reader::new(file_name);
        let mut file = Self { policy_files: Vec::new(), inline: PolicySet::default(), cases: Vec::new() };
        match documents(text) {
            Ok(documents) if documents.len() == 1 => file.read(&mut reader, &documents[0], settings),
            Ok(_) => reader.wrong(0, "a file of cases is one document"),
            Err((line, message)) => reader.wrong(line, message),
        }
        if reader.errors.is_empty() { Ok(file) } else { Err(reader.errors) }
    }

    /// The files of policies that the cases are for, as written: relative to the file of cases.
    #[must_use]
    pub fn policy_files(&self) -> &[String] {
        &self.policy_files
    }

    /// Judges every case against the policies of the named files (`read` by the caller) and those in the file
    /// itself.
    #[must_use]
    pub fn run(&self, read: PolicySet) -> Vec<CaseResult> {
        let mut policies = read;
        policies.extend(self.inline.clone());
        self.cases.iter().map(|case| case.run(&policies)).collect()
    }

    fn read(&mut self, reader: &mut Reader<'_>, node: &Node, settings: &MeshSettings) {
        let entries = reader.entries(node, "a file of cases", Keys::Plain, &["policies", "cases"]);
        for (key, value) in &entries {
            let items = reader.items(value, key);
            if *key == "policies" {
                for item in items {
                    match &item.kind {
                        Kind::Text(file) => self.policy_files.push(file.clone()),
                        _ => self.inline.read(reader, item, settings),
                    }
                }
            } else if items.len() > CASES_MAX {
                reader.wrong(value.line, format!("more than {CASES_MAX} cases"));
            } else {
                self.cases = items.iter().filter_map(|item| Case::read(reader, item)).collect();
            }
        }
        if !entries.iter().any(|(key, _)| *key == "policies") {
            reader.wrong(node.line, "`policies` is missing: files, or the policies themselves");
        }
        if self.cases.is_empty() && reader.errors.is_empty() {
            reader.wrong(node.line, "there are no cases, and nothing would be tested");
        }
    }
}

impl Case {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let before = reader.errors.len();
        let mut case = Self {
            name: String::new(),
            line: node.line,
            row: empty_row(),
            path: String::new(),
            host: String::new(),
            port: None,
            expect: Expectation::Allow,
            policy: None,
        };
        let mut expected = false;
        for (key, value) in
            reader.entries(node, "a case", Keys::Plain, &["name", "given", "expect", "policy"])
        {
            match key {
                "name" => case.name = reader.text(value, key).unwrap_or_default().to_owned(),
                "given" => case.read_given(reader, value),
                "expect" => {
                    expected = true;
                    let words = [("allow", Expectation::Allow), ("deny", Expectation::Deny)];
                    case.expect = reader.word(value, key, &words).unwrap_or(Expectation::Allow);
                }
                _ => case.policy = reader.text(value, key).map(str::to_owned),
            }
        }
        if !expected {
            reader.wrong(node.line, "`expect` is missing: allow or deny");
        }
        if case.policy.is_some() && case.expect == Expectation::Allow {
            reader.wrong(
                node.line,
                "`policy` says by which policy a call is denied; this one is expected to pass",
            );
        }
        if case.name.is_empty() {
            case.name = format!("line {}", node.line);
        }
        (reader.errors.len() == before).then_some(case)
    }

    fn read_given(&mut self, reader: &mut Reader<'_>, node: &Node) {
        let keys = ["source", "authenticated", "destination", "method", "path", "host", "port"];
        let mut authenticated = None;
        for (key, value) in reader.entries(node, "given", Keys::Plain, &keys) {
            let text = |reader: &mut Reader<'_>| reader.text(value, key).unwrap_or_default().to_owned();
            match key {
                "source" => self.row.source = endpoint(reader, value, key),
                "destination" => self.row.destination = endpoint(reader, value, key),
                "authenticated" => authenticated = reader.truth(value, key),
                "method" => self.row.method = text(reader),
                "host" => self.host = text(reader),
                "port" => self.port = reader.port(value, key),
                _ => {
                    self.path = text(reader);
                    if !self.path.starts_with('/') && self.path != "*" {
                        reader.wrong(value.line, "a path begins with `/`");
                    }
                    if self.path.contains('?') {
                        reader.wrong(value.line, "policies compare a path without its query");
                    }
                }
            }
        }
        if self.row.destination.workload.is_empty() || self.row.destination.namespace.is_empty() {
            reader.wrong(node.line, "`destination` has a namespace and a workload");
        }
        let named = !self.row.source.principal.is_empty();
        if authenticated == Some(false) && named {
            reader.wrong(node.line, "a caller with a principal is authenticated");
        }
        if named {
            self.row.source_identity = IdentitySource::MtlsCertificate;
        }
        self.row.authenticated = Some(authenticated.unwrap_or(named));
    }

    fn run(&self, policies: &PolicySet) -> CaseResult {
        let mut facts = Facts::of(&self.row);
        // In a case a path is a path: what looks like a template is part of it.
        facts.path = if self.path.is_empty() { Path::Unknown } else { Path::Is(self.path.clone()) };
        facts.port = self.port;
        facts.host = (!self.host.is_empty()).then_some(self.host.as_str());
        debug_assert!(facts.peer != Peer::Unknown, "a case says whether the caller is authenticated");
        let (passed, message) = self.outcome(&policies.judge(&facts));
        CaseResult { name: self.name.clone(), line: self.line, passed, message }
    }

    fn outcome(&self, verdict: &PolicyVerdict) -> (bool, String) {
        match (self.expect, verdict) {
            (Expectation::Allow, PolicyVerdict::Allowed) => (true, "allowed".to_owned()),
            (Expectation::Deny, PolicyVerdict::Allowed) => {
                (false, "expected deny, but nothing denies it".to_owned())
            }
            (Expectation::Allow, PolicyVerdict::Denied { policy }) => {
                (false, format!("expected allow, but it is {}", denied_by(policy)))
            }
            (Expectation::Deny, PolicyVerdict::Denied { policy }) => match &self.policy {
                Some(wanted) if !named(policy, wanted) => {
                    (false, format!("expected deny by {wanted}, but it is {}", denied_by(policy)))
                }
                _ => (true, denied_by(policy)),
            },
            (_, PolicyVerdict::Unknown { why }) => (false, format!("the case does not say enough: {why}")),
        }
    }
}

fn denied_by(policy: &str) -> String {
    if policy == "none" {
        "denied: no ALLOW policy matches".to_owned()
    } else {
        format!("denied by {policy}")
    }
}

/// A policy may be named with or without its namespace.
fn named(policy: &str, wanted: &str) -> bool {
    policy == wanted || policy.split_once('/').is_some_and(|(_, name)| name == wanted)
}

/// A principal may be written as Istio does, without its scheme.
fn endpoint(reader: &mut Reader<'_>, node: &Node, what: &str) -> Endpoint {
    let mut endpoint = Endpoint::default();
    let keys = ["cluster", "namespace", "workload", "principal"];
    for (key, value) in reader.entries(node, what, Keys::Plain, &keys) {
        let text = reader.text(value, key).unwrap_or_default();
        match key {
            "cluster" => text.clone_into(&mut endpoint.cluster),
            "namespace" => text.clone_into(&mut endpoint.namespace),
            "workload" => text.clone_into(&mut endpoint.workload),
            _ if text.contains("/ns/") && !text.contains("://") => {
                endpoint.principal = format!("spiffe://{text}")
            }
            _ => text.clone_into(&mut endpoint.principal),
        }
    }
    endpoint
}

fn empty_row() -> TrafficRow {
    TrafficRow {
        minute_seconds: 0,
        source: Endpoint::default(),
        source_identity: IdentitySource::None,
        authenticated: Some(false),
        destination: Endpoint::default(),
        external: false,
        method: String::new(),
        route: String::new(),
        status: 0,
        denied_by: String::new(),
        normal: true,
        calls: 1,
    }
}
