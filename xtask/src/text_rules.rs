//! What a file of the repository must and must not contain, as functions of its text.

use std::path::Path;

use selvedge_model::FindingKind;

/// Lines of a source file, tests left out. Above this there is more than one noun in it.
pub(crate) const FILE_LINES_MAX: usize = 500;

/// Bytes of a file outside `fixtures/`.
pub(crate) const FILE_BYTES_MAX: u64 = 1_000_000;

/// Public data sets, and words of theirs, which must not shape the source (design, invariant 8).
const DATA_SETS: &[&str] =
    &["nezha", "hipster", "trainticket", "train-ticket", "onlineboutique", "online-boutique"];

/// First folders of paths that exist on one machine only. Without slashes here, or this file would name one.
const MACHINE_FOLDERS: &[&str] = &["work", "farm", "root"];

/// Unfinished code and tests that do not run. In two pieces each, or this file would hold them.
const UNFINISHED: &[&str] = &[concat!("#[", "ignore"), concat!("todo", "!("), concat!("unimplemented", "!(")];

/// Parts of the standard library that a function of its arguments has no use for.
const IMPURE_USES: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::std",
    "std::os",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "SystemTime",
    "Instant::now",
];

/// What is wrong with a Rust source file, one sentence each.
pub(crate) fn in_source(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push("does not begin with a `//!` header that says what it is".to_owned());
    }
    let lines = without_tests(text).len();
    if lines > FILE_LINES_MAX {
        found.push(format!("has {lines} lines without its tests, {FILE_LINES_MAX} are allowed"));
    }
    for unfinished in UNFINISHED {
        found.extend(lines_with(text, unfinished).map(|line| format!("line {line} has `{unfinished}`")));
    }
    found
}

/// Numbered lines that are not tests: a `#[cfg(test)]` module in the file ends them, one in a file of its own is skipped.
fn without_tests(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut code = Vec::new();
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        if let Some(module) = test_module(&lines[index..]) {
            if lines[index + module].ends_with('{') {
                break;
            }
            index += module + 1;
            continue;
        }
        code.push((index + 1, *line));
        index += 1;
    }
    code
}

/// How many lines after the first the `mod` stands, when the first begins a test module.
fn test_module(lines: &[&str]) -> Option<usize> {
    if lines.first() != Some(&"#[cfg(test)]") {
        return None;
    }
    let module = 1 + lines[1..].iter().position(|line| !line.starts_with("#["))?;
    lines[module].starts_with("mod ").then_some(module)
}

/// Ways in which the source of a pure crate reaches for the world.
pub(crate) fn impure_uses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in without_tests(text) {
        let code = line.split("//").next().unwrap_or_default();
        found.extend(IMPURE_USES.iter().filter(|used| code.contains(*used)).map(|used| {
            format!("line {number} uses {used}; a pure crate gets what it needs as an argument")
        }));
    }
    found
}

/// Data sets that a text names.
pub(crate) fn data_sets(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut found = Vec::new();
    for name in DATA_SETS {
        found.extend(lines_with(&lower, name).map(|line| format!("line {line} names a data set: {name}")));
    }
    for (index, line) in lower.lines().enumerate() {
        if line.split(|c: char| !c.is_ascii_lowercase() && c != '-').any(is_data_set_service) {
            found.push(format!("line {} names a service of a data set", index + 1));
        }
    }
    found
}

/// `ts-<word>-service`, the way one data set names all its services.
fn is_data_set_service(word: &str) -> bool {
    let Some(at) = word.find("ts-") else { return false };
    let Some(end) = word[at + 3..].find("-service") else { return false };
    let name = &word[at + 3..at + 3 + end];
    !name.is_empty() && !name.contains('-')
}

/// Lines that hold a path of one machine.
pub(crate) fn machine_paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in MACHINE_FOLDERS {
        let path = format!("/{folder}/");
        for (index, line) in text.lines().enumerate() {
            let starts_a_path = |at: usize| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_ascii_alphanumeric() && !"_./-".contains(c))
            };
            if line.match_indices(&path).any(|(at, _)| starts_a_path(at)) {
                found.push(format!("line {} holds a path of one machine: {path}", index + 1));
            }
        }
    }
    found
}

/// What is wrong with the name of a file in `rules/`.
pub(crate) fn rule_name(file: &Path) -> Option<String> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    if extension != Some("yml") {
        return (extension == Some("yaml")).then(|| "ends in .yaml, where .yml is expected".to_owned());
    }
    let kind = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    FindingKind::parse(kind).is_none().then(|| format!("is named after `{kind}`, which is no finding kind"))
}

/// The label file that must stand beside a capture; `None` when the file is no capture.
pub(crate) fn label_of(file: &Path) -> Option<std::path::PathBuf> {
    let name = file.file_name()?.to_str()?;
    let stem = name.strip_suffix(".otlpcap.zst").or_else(|| name.strip_suffix(".otlpcap"))?;
    Some(file.with_file_name(format!("{stem}.label.json")))
}

fn lines_with<'a>(text: &'a str, wanted: &'a str) -> impl Iterator<Item = usize> {
    text.lines().enumerate().filter(move |(_, line)| line.contains(wanted)).map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_needs_a_header() {
        assert!(in_source("use std::fmt;\n")[0].contains("header"));
        assert!(in_source("//! What it is.\n").is_empty());
    }

    #[test]
    fn tests_do_not_count_towards_the_size_of_a_file() {
        let code = format!("//! Header.\n{}", "// line\n".repeat(FILE_LINES_MAX - 1));
        assert!(in_source(&code).is_empty());
        assert!(in_source(&format!("{code}// one more\n"))[0].contains("501 lines"));
        let tests = "#[cfg(test)]\nmod tests {\n    // a test\n}\n".to_owned();
        assert!(in_source(&format!("{code}{tests}")).is_empty());
        let attributes = "#[cfg(test)]\n#[expect(unused, reason = \"none\")]\nmod tests {\n}\n";
        assert!(in_source(&format!("{code}{attributes}")).is_empty());
    }

    #[test]
    fn code_after_a_test_module_of_its_own_file_counts() {
        let late =
            format!("//! Header.\n#[cfg(test)]\nmod tests;\n{}", "// line\n".repeat(FILE_LINES_MAX - 1));
        assert!(in_source(&late).is_empty());
        assert!(in_source(&format!("{late}// one more\n"))[0].contains("501 lines"));
    }

    #[test]
    fn a_pure_crate_that_reads_a_file_is_named_and_its_tests_and_comments_may() {
        assert!(impure_uses("//! Header.\nuse std::fs::File;\n")[0].starts_with("line 2 uses std::fs"));
        assert!(impure_uses("// never std::fs\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n").is_empty());
        assert!(impure_uses("use std::net::IpAddr;\n").is_empty());
    }

    #[test]
    fn unfinished_work_and_ignored_tests_are_named_with_their_line() {
        let text = format!("//! Header.\nfn later() {{ {}) }}\n", concat!("todo", "!("));
        assert!(in_source(&text)[0].starts_with("line 2 has `todo"));
    }

    #[test]
    fn data_sets_and_their_services_are_found_in_any_spelling_and_ordinary_words_are_not() {
        assert_eq!(data_sets(&["Nez", "ha"].concat()).len(), 1);
        assert_eq!(data_sets(&["a ts-", "order-service b"].concat()).len(), 1);
        assert!(data_sets("order-service, the ts- prefix, tests-service, ts--service").is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_relative_one_is_not() {
        let path = |before: &str| format!("{before}/{}/main", MACHINE_FOLDERS[0]);
        assert_eq!(machine_paths(&path("see ")).len(), 1);
        assert!(machine_paths(&path("git")).is_empty());
        assert!(machine_paths(&path("..")).is_empty());
    }

    #[test]
    fn a_rule_is_named_after_a_finding_kind() {
        assert_eq!(rule_name(Path::new("rules/mtls_downgrade.yml")), None);
        assert!(rule_name(Path::new("rules/mtls_downgraded.yml")).is_some());
        assert!(rule_name(Path::new("rules/mtls_downgrade.yaml")).is_some());
        assert_eq!(rule_name(Path::new("rules/README.md")), None);
    }

    #[test]
    fn a_capture_has_a_label_beside_it() {
        let label = Some("fixtures/flood.label.json".into());
        assert_eq!(label_of(Path::new("fixtures/flood.otlpcap.zst")), label);
        assert_eq!(label_of(Path::new("fixtures/flood.otlpcap")), label);
        assert_eq!(label_of(Path::new("fixtures/flood.label.json")), None);
    }
}
