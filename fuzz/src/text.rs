//! Files that people write: configuration, rules, policies and their tests.

use selvedge_detect::RuleSet;
use selvedge_model::{Endpoint, IdentitySource};
use selvedge_policy::{CaseFile, MeshSettings, PolicySet, TrafficRow};

/// Problems of one file; all of them are for people to read.
const PROBLEMS_MAX: usize = 10_000;

/// The program's configuration, in a folder that does not exist.
#[cfg(feature = "fuzzer")]
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let folder = std::path::Path::new("/nonexistent/selvedge");
    if let Err(problems) = selvedge::fuzzing::check_config(text, folder) {
        assert!(!problems.is_empty(), "a file that is refused is told why");
        assert!(problems.len() < PROBLEMS_MAX);
    }
}

/// One rule file.
pub fn rules(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match RuleSet::load(&[("rule.yml", text)]) {
        Ok(set) => assert_eq!(set.iter().count(), RuleSet::shipped().iter().count(), "a rule of each kind"),
        Err(errors) => {
            assert!(!errors.is_empty() && errors.len() < PROBLEMS_MAX);
            assert!(errors.iter().all(|error| error.to_string().starts_with("rule.yml")));
        }
    }
}

/// A line with what a call was, then policies in YAML or JSON; the same text is read as a file of cases, too.
pub fn policies(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (line, text) = text.split_once('\n').unwrap_or(("", text));
    let settings = MeshSettings { trust_domain: "mesh.example".to_owned(), ..MeshSettings::default() };
    match PolicySet::parse_in(text, "policy.yaml", &settings) {
        Ok(set) => {
            let row = row(line);
            let verdict = set.verdict(&row);
            assert_eq!(verdict, set.verdict(&row));
            let mut twice = set.clone();
            twice.extend(set);
            assert_eq!(
                verdict.clone(),
                once(twice.verdict(&row), &verdict),
                "saying it twice changes nothing"
            );
        }
        Err(errors) => assert!(!errors.is_empty() && errors.len() < PROBLEMS_MAX),
    }
    if let Err(errors) = CaseFile::parse(text, "cases.yaml", &settings) {
        assert!(!errors.is_empty() && errors.len() < PROBLEMS_MAX);
    }
}

/// What is missing is told once for each policy that asks for it.
fn once(
    said: selvedge_policy::PolicyVerdict,
    expected: &selvedge_policy::PolicyVerdict,
) -> selvedge_policy::PolicyVerdict {
    use selvedge_policy::PolicyVerdict::Unknown;
    match (&said, expected) {
        (Unknown { .. }, Unknown { .. }) => expected.clone(),
        _ => said,
    }
}

/// Words apart by spaces: method, route, caller's principal, callee's namespace and workload; a `!` that follows says that
/// the caller proved nothing, a `^` that the callee is outside.
fn row(line: &str) -> TrafficRow {
    let mut words = line.split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (method, route, principal, namespace, workload, marks) =
        (word(), word(), word(), word(), word(), word());
    let endpoint = |namespace: &str, workload: &str, principal: &str| Endpoint {
        cluster: String::new(),
        namespace: namespace.to_owned(),
        workload: workload.to_owned(),
        principal: principal.to_owned(),
    };
    TrafficRow {
        minute_seconds: 1_795_466_040,
        source: endpoint("store", "courier", &principal),
        source_identity: IdentitySource::MtlsCertificate,
        authenticated: (!principal.is_empty()).then(|| !marks.contains('!')),
        destination: endpoint(&namespace, &workload, ""),
        external: marks.contains('^'),
        method,
        route,
        status: 200,
        denied_by: String::new(),
        normal: true,
        calls: 1,
    }
}

/// One SQL text: parsed, refused when it would do more than read, and planned.
///
/// A panic of DataFusion's planner is an error that a person reads (`unbroken` in `query/src/service.rs`), and not ours to
/// find; one of our own code ends the run.
#[cfg(feature = "fuzzer")]
pub fn sql(input: &[u8]) {
    use selvedge_query::fuzzing::Planner;
    thread_local! {
        static PLANNER: Planner = {
            end_with_our_own_panics();
            Planner::new().expect("DataFusion can be set up")
        };
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    match PLANNER.with(|planner| planner.plan(text)) {
        Ok(nodes) => assert!(!nodes.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty() && !error.code().is_empty()),
    }
}

/// libFuzzer's hook ends the process at any panic, also at one that is caught.
#[cfg(feature = "fuzzer")]
fn end_with_our_own_panics() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", std::panic::Location::file);
        if !file.contains("/registry/src/") {
            end(panic);
        }
    }));
}
