//! Reading `AuthorizationPolicy` objects, as strictly as the API server and istiod do.

use super::MeshSettings;
use super::istio::{Action, Clause, Field, Label, Policy, Rule, Scope, Target};
use super::reader::{Keys, Reader};
use super::text_match::{TextMatch, TextPattern};
use crate::yaml::{Kind, Node};

/// Labels that hold a workload's name, besides the one in the settings.
const NAME_LABELS: [&str; 3] = ["app", "app.kubernetes.io/name", "service.istio.io/canonical-name"];
/// `serviceAccounts` of one source (istiod's limit).
const SERVICE_ACCOUNTS_MAX: usize = 16;

const SOURCE_KEYS: [&str; 12] = [
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
];

const OPERATION_KEYS: [&str; 8] =
    ["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"];

/// Which texts a field compares, as istiod compiles them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Principal,
    Namespace,
    ServiceAccount,
    Path,
    Host,
    Port,
    Plain,
}

/// Reads one object. `None` when something is wrong with it; the reader knows what.
pub(crate) fn policy(reader: &mut Reader<'_>, node: &Node, settings: &MeshSettings) -> Option<Policy> {
    let before = reader.errors.len();
    let (mut metadata, mut spec) = (None, None);
    let keys = ["apiVersion", "kind", "metadata", "spec", "status"];
    for (key, value) in reader.entries(node, "an AuthorizationPolicy", Keys::Plain, &keys) {
        match key {
            "metadata" => metadata = Some(value),
            "spec" => spec = Some(value),
            _ => {}
        }
    }
    // Other keys of metadata belong to Kubernetes, and decide nothing.
    let mut of_metadata = |key: &str, missing: &str| {
        let Some(value) = metadata.and_then(|metadata: &Node| metadata.get(key)) else {
            reader.wrong(node.line, format!("metadata.{key} is missing{missing}"));
            return None;
        };
        reader.text(value, key)
    };
    let name = of_metadata("name", "");
    let namespace = of_metadata("namespace", ", and decides which workloads the policy is for");
    let dry_run = metadata.and_then(|metadata| metadata.get("annotations")?.get("istio.io/dry-run")?.text());
    if dry_run == Some("true") {
        reader.note(node.line, "a dry run: judged as if it were enforced");
    }
    let namespace = namespace.unwrap_or_default();
    let mut policy = Policy {
        name: format!("{namespace}/{}", name.unwrap_or_default()),
        scope: Scope {
            namespace: (namespace != settings.root_namespace).then(|| namespace.to_owned()),
            labels: Vec::new(),
            targets: Vec::new(),
        },
        action: Action::Allow,
        rules: Vec::new(),
    };
    // `spec: {}` and no spec at all allow nothing.
    if let Some(spec) = spec.filter(|spec| spec.kind != Kind::Null) {
        read_spec(reader, spec, settings, namespace, &mut policy);
    }
    (reader.errors.len() == before).then_some(policy)
}

fn read_spec(
    reader: &mut Reader<'_>,
    spec: &Node,
    settings: &MeshSettings,
    namespace: &str,
    policy: &mut Policy,
) {
    let keys = ["selector", "targetRef", "targetRefs", "action", "rules", "provider"];
    for (key, value) in reader.entries(spec, "spec", Keys::Plain, &keys) {
        match key {
            "selector" => policy.scope.labels = labels(reader, value, settings),
            "targetRef" => policy.scope.targets.extend(target(reader, value)),
            "targetRefs" => {
                for item in reader.items(value, "targetRefs") {
                    policy.scope.targets.extend(target(reader, item));
                }
            }
            "action" => {
                let words = [
                    ("ALLOW", Action::Allow),
                    ("DENY", Action::Deny),
                    ("AUDIT", Action::Audit),
                    ("CUSTOM", Action::Custom),
                ];
                policy.action = reader.word(value, "action", &words).unwrap_or(Action::Allow);
            }
            "rules" => {
                let rules = reader.items(value, "rules");
                policy.rules = rules.iter().map(|item| rule(reader, item, settings, namespace)).collect();
            }
            _ => {}
        }
    }
    if !policy.scope.labels.is_empty() && !policy.scope.targets.is_empty() {
        reader.wrong(spec.line, "a policy has a selector or targetRefs, never both");
    }
    match policy.action {
        Action::Audit => reader.note(spec.line, "action AUDIT decides nothing: ignored"),
        Action::Custom => {
            reader.note(spec.line, "action CUSTOM asks a service outside: undecided where it matches")
        }
        Action::Deny if policy.rules.is_empty() => {
            reader.note(spec.line, "action DENY without rules matches nothing");
        }
        Action::Deny | Action::Allow => {}
    }
}

fn labels(reader: &mut Reader<'_>, node: &Node, settings: &MeshSettings) -> Vec<Label> {
    let mut labels = Vec::new();
    for (_, value) in reader.entries(node, "selector", Keys::Plain, &["matchLabels"]) {
        let Kind::Map(entries) = &value.kind else {
            reader.wrong(value.line, "matchLabels is no mapping");
            continue;
        };
        for (key, _, value) in entries {
            let is_workload = *key == settings.selector_label || NAME_LABELS.contains(&key.as_str());
            if let Some(value) = reader.text(value, "a label") {
                labels.push(Label { value: value.to_owned(), is_workload });
            }
        }
    }
    labels
}

fn target(reader: &mut Reader<'_>, node: &Node) -> Option<Target> {
    let (mut kind, mut name) = (None, None);
    for (key, value) in
        reader.entries(node, "targetRef", Keys::Plain, &["group", "kind", "name", "namespace"])
    {
        let text = reader.text(value, key);
        match key {
            "kind" => kind = text,
            "name" => name = text,
            _ => {}
        }
    }
    let (Some(kind), Some(name)) = (kind, name) else {
        reader.wrong(node.line, "a targetRef has a kind and a name");
        return None;
    };
    Some(if kind == "Service" { Target::Service(name.to_owned()) } else { Target::Other })
}

fn rule(reader: &mut Reader<'_>, node: &Node, settings: &MeshSettings, namespace: &str) -> Rule {
    let mut rule = Rule::default();
    for (key, value) in reader.entries(node, "a rule", Keys::Plain, &["from", "to", "when"]) {
        let items = reader.items(value, key);
        if items.is_empty() {
            reader.wrong(value.line, format!("`{key}` is empty; leave it out to match everything"));
        }
        for item in items {
            match key {
                "from" => rule.from.extend(inner(reader, item, "source", &SOURCE_KEYS, settings, namespace)),
                "to" => {
                    rule.to.extend(inner(reader, item, "operation", &OPERATION_KEYS, settings, namespace))
                }
                _ => rule.when.extend(condition(reader, item, settings, namespace)),
            }
        }
    }
    rule
}

/// The `source` of an item of `from`, or the `operation` of one of `to`.
fn inner(
    reader: &mut Reader<'_>,
    item: &Node,
    what: &'static str,
    keys: &[&'static str],
    settings: &MeshSettings,
    namespace: &str,
) -> Option<Vec<Clause>> {
    let Some((_, node)) = reader.entries(item, "an item", Keys::Plain, &[what]).into_iter().next() else {
        reader.wrong(item.line, format!("`{what}` is missing"));
        return None;
    };
    let mut clauses: Vec<Clause> = Vec::new();
    let entries = reader.entries(node, what, Keys::Plain, keys);
    if entries.is_empty() {
        reader.wrong(node.line, format!("`{what}` is empty, and would match everything"));
    }
    if what == "source" {
        check_source(reader, node, &entries);
    }
    for (key, value) in entries {
        let (field, form) = field_of(key);
        let matchers = matchers(reader, value, key, form, settings, namespace);
        let clause = match clauses.iter_mut().find(|clause| clause.field == field && form_is_one(form)) {
            Some(clause) => clause,
            None => {
                clauses.push(Clause { field, values: Vec::new(), not_values: Vec::new() });
                clauses.last_mut().expect("pushed just now")
            }
        };
        if key.starts_with("not") {
            clause.not_values.extend(matchers);
        } else {
            clause.values.extend(matchers);
        }
    }
    Some(clauses)
}

/// Namespaces and service accounts both ask about the identity, and are anded: each is a clause of its own.
fn form_is_one(form: Form) -> bool {
    !matches!(form, Form::Namespace | Form::ServiceAccount)
}

fn check_source(reader: &mut Reader<'_>, node: &Node, entries: &[(&str, &Node)]) {
    let has = |key: &str| entries.iter().any(|(name, _)| name.eq_ignore_ascii_case(key));
    let accounts = has("serviceAccounts") || has("notServiceAccounts");
    let others = ["principals", "notPrincipals", "namespaces", "notNamespaces"].iter().any(|key| has(key));
    if accounts && others {
        reader.wrong(node.line, "serviceAccounts cannot stand beside principals or namespaces");
    }
    for (key, value) in entries {
        let Kind::List(items) = &value.kind else { continue };
        if key.ends_with("erviceAccounts") && items.len() > SERVICE_ACCOUNTS_MAX {
            reader.wrong(value.line, format!("more than {SERVICE_ACCOUNTS_MAX} service accounts"));
        }
    }
}

fn field_of(key: &str) -> (Field, Form) {
    match key {
        "principals" | "notPrincipals" => (Field::Principal, Form::Principal),
        "namespaces" | "notNamespaces" => (Field::Identity, Form::Namespace),
        "serviceAccounts" | "notServiceAccounts" => (Field::Identity, Form::ServiceAccount),
        "requestPrincipals" | "notRequestPrincipals" => {
            (Field::NotRecorded("the end user's token"), Form::Plain)
        }
        "remoteIpBlocks" | "notRemoteIpBlocks" => {
            (Field::NotRecorded("the original client's address"), Form::Plain)
        }
        "ipBlocks" | "notIpBlocks" => (Field::NotRecorded("the caller's address"), Form::Plain),
        "hosts" | "notHosts" => (Field::Host, Form::Host),
        "ports" | "notPorts" => (Field::Port, Form::Port),
        "methods" | "notMethods" => (Field::Method, Form::Plain),
        _ => (Field::Path, Form::Path),
    }
}

fn condition(
    reader: &mut Reader<'_>,
    node: &Node,
    settings: &MeshSettings,
    namespace: &str,
) -> Option<Clause> {
    let entries = reader.entries(node, "a condition", Keys::Plain, &["key", "values", "notValues"]);
    let key = entries.iter().find(|(name, _)| *name == "key").and_then(|(_, value)| value.text());
    let Some(key) = key else {
        reader.wrong(node.line, "a condition has a `key`");
        return None;
    };
    let (field, form) = match key {
        "source.principal" => (Field::Principal, Form::Principal),
        "source.namespace" => (Field::Identity, Form::Namespace),
        "source.serviceAccount" => (Field::Identity, Form::ServiceAccount),
        "destination.port" => (Field::Port, Form::Port),
        "source.ip" => (Field::NotRecorded("the caller's address"), Form::Plain),
        "remote.ip" => (Field::NotRecorded("the original client's address"), Form::Plain),
        "destination.ip" => (Field::NotRecorded("the callee's address"), Form::Plain),
        "connection.sni" => (Field::NotRecorded("the server name asked for"), Form::Plain),
        _ if key.starts_with("request.auth.") => (Field::NotRecorded("the end user's token"), Form::Plain),
        _ if key.starts_with("request.headers[") => (Field::NotRecorded("request headers"), Form::Plain),
        _ if key.starts_with("experimental.envoy.filters.") => {
            (Field::NotRecorded("metadata of Envoy's filters"), Form::Plain)
        }
        _ => {
            reader.wrong(node.line, format!("unknown attribute `{key}`"));
            return None;
        }
    };
    let mut clause = Clause { field, values: Vec::new(), not_values: Vec::new() };
    for (name, value) in entries {
        match name {
            "values" => clause.values = matchers(reader, value, name, form, settings, namespace),
            "notValues" => clause.not_values = matchers(reader, value, name, form, settings, namespace),
            _ => {}
        }
    }
    if clause.values.is_empty() && clause.not_values.is_empty() {
        reader.wrong(node.line, "a condition has `values` or `notValues`");
    }
    Some(clause)
}

fn matchers(
    reader: &mut Reader<'_>,
    node: &Node,
    key: &str,
    form: Form,
    settings: &MeshSettings,
    namespace: &str,
) -> Vec<TextMatch> {
    let mut matchers = Vec::new();
    for (line, text) in reader.texts(node, key) {
        match form {
            Form::Principal if text.starts_with("spiffe://") => {
                let bare = text.trim_start_matches("spiffe://");
                reader.wrong(line, format!("principals are written without `spiffe://`: `{bare}`"));
            }
            Form::ServiceAccount if text.contains('*') || text.matches('/').count() > 1 => {
                reader.wrong(line, format!("`{text}` is neither `account` nor `namespace/account`"));
            }
            Form::Port if text.parse::<u16>().is_err() => {
                reader.wrong(line, format!("`{text}` is no port number"));
            }
            Form::Path if path_problem(text).is_some() => {
                reader.wrong(line, path_problem(text).unwrap_or_default());
            }
            _ => {
                // `cluster.local` stands for whatever the mesh's trust domain is.
                let alias = text.strip_prefix("cluster.local/").filter(|_| form == Form::Principal);
                let alias = alias.filter(|_| !settings.trust_domain.is_empty());
                let alias = alias.map(|rest| format!("{}/{rest}", settings.trust_domain));
                for text in std::iter::once(text).chain(alias.as_deref()) {
                    match matcher(text, form, namespace) {
                        Ok(matcher) => matchers.push(matcher),
                        Err(problem) => reader.wrong(line, problem),
                    }
                }
            }
        }
    }
    matchers
}

/// What istiod's admission finds wrong with a path.
fn path_problem(path: &str) -> Option<String> {
    let templated = path.contains("{*}") || path.contains("{**}");
    let mut rest_seen = false;
    for segment in path.trim_matches('/').split('/') {
        if rest_seen && matches!(segment, "{*}" | "{**}") {
            return Some(format!("`{path}`: nothing variable may follow `{{**}}`"));
        }
        match segment {
            "{*}" => {}
            "{**}" => rest_seen = true,
            _ if segment.contains(['{', '}']) => {
                return Some(format!(
                    "`{path}`: only `{{*}}` and `{{**}}` may stand in braces, as whole segments"
                ));
            }
            _ if templated && (segment.is_empty() || !segment.bytes().all(literal_byte)) => {
                return Some(format!("`{path}`: `{segment}` cannot stand beside a path template"));
            }
            _ => {}
        }
    }
    None
}

/// What a literal segment beside a path template may hold (istiod, after RFC 3986).
pub(crate) fn literal_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

fn matcher(text: &str, form: Form, namespace: &str) -> Result<TextMatch, String> {
    let escaped = |text: &str| regex::escape(text).replace("\\*", ".*");
    let (pattern, ignore_case) = match form {
        Form::Namespace => (TextPattern::Regex(format!(".*/ns/{}/.*", escaped(text))), false),
        Form::ServiceAccount => {
            let (of, account) = text.split_once('/').unwrap_or((namespace, text));
            let (of, account) = (regex::escape(of), regex::escape(account));
            (TextPattern::Regex(format!("spiffe://.+/ns/{of}/(.+/|)sa/{account}(/.+)?")), false)
        }
        Form::Path if text.contains("{*}") || text.contains("{**}") => {
            (TextPattern::UriTemplate(text.replace("{*}", "*").replace("{**}", "**")), false)
        }
        Form::Port => (TextPattern::Exact(text.to_owned()), false),
        _ => (wildcard(text), form == Form::Host),
    };
    TextMatch::new(pattern, ignore_case)
}

/// `*` is anything that is there, `*x` and `x*` what ends and begins so, anything else itself.
fn wildcard(text: &str) -> TextPattern {
    if text == "*" {
        return TextPattern::Regex(".+".to_owned());
    }
    match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(suffix), _) => TextPattern::Suffix(suffix.to_owned()),
        (None, Some(prefix)) => TextPattern::Prefix(prefix.to_owned()),
        (None, None) => TextPattern::Exact(text.to_owned()),
    }
}
