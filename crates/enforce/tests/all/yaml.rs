//! The YAML driver: the folder is made equal to the wanted set, and nothing else in it is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::child;
use selvedge_enforce::yaml_driver::{
    GitConfig, GitError, MARKER, Refusal, RenderedFile, Report, YamlConfig, YamlDriver, YamlError,
};

const ONE: &str = "selvedge-q-00000000000000a1.yaml";
const TWO: &str = "selvedge-q-00000000000000b2.yaml";

fn file(name: &str, text: &str) -> RenderedFile {
    RenderedFile { name: name.to_owned(), expires: "2026-11-26T18:00:00Z".to_owned(), text: text.to_owned() }
}

fn driver(folder: &Path, git: Option<GitConfig>) -> YamlDriver {
    YamlDriver::new(YamlConfig { folder: folder.to_owned(), git })
}

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != ".git").collect();
    names.sort();
    names
}

fn refusals(report: &Report) -> Vec<(&str, Refusal)> {
    report.refused.iter().map(|refused| (refused.name.as_str(), refused.reason)).collect()
}

#[tokio::test]
async fn the_folder_becomes_the_wanted_set_and_stays_as_it_is_when_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let driver = driver(folder.path(), None);
    let report = driver.apply(&[file(ONE, "kind: A"), file(TWO, "kind: B\n")]).await.unwrap();
    assert_eq!((report.written, report.unchanged), (vec![ONE.to_owned(), TWO.to_owned()], 0));
    let text = fs::read_to_string(folder.path().join(ONE)).unwrap();
    assert_eq!(text, format!("{MARKER}\n# expires: 2026-11-26T18:00:00Z\nkind: A\n"));

    let report = driver.apply(&[file(ONE, "kind: A"), file(TWO, "kind: C")]).await.unwrap();
    assert_eq!((report.rewritten.clone(), report.unchanged), (vec![TWO.to_owned()], 1));
    assert!(report.complete() && report.written.is_empty());

    let report = driver.apply(&[]).await.unwrap();
    assert_eq!(report.removed, [ONE, TWO]);
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_never_touched_even_under_a_name_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let theirs = "kind: Theirs\n";
    fs::write(path(ONE), theirs).unwrap();
    fs::write(path("other.yaml"), format!("{MARKER}\n")).unwrap();
    fs::create_dir(path("selvedge-q-folder.yaml")).unwrap();
    fs::write(path("elsewhere"), format!("{MARKER}\n")).unwrap();
    symlink(path("elsewhere"), path("selvedge-q-link.yaml")).unwrap();
    fs::write(path(".selvedge-q-x.yaml.selvedge-tmp"), theirs).unwrap();
    let before = names(folder.path());

    let report = driver(folder.path(), None).apply(&[file(ONE, "kind: A")]).await.unwrap();
    let foreign = |name| (name, Refusal::Foreign);
    let expected = [foreign(ONE), foreign("selvedge-q-folder.yaml"), foreign("selvedge-q-link.yaml")];
    assert_eq!(refusals(&report), expected);
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::read_to_string(path(ONE)).unwrap(), theirs);
    assert!(!report.complete());
}

#[tokio::test]
async fn names_that_are_not_ours_to_use_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = ["../selvedge-q-a.yaml", "cart.yaml", "selvedge-q-A.yaml", "selvedge-q-.yaml", ONE, ONE];
    let wanted: Vec<RenderedFile> = wanted.iter().map(|name| file(name, "kind: A")).collect();
    let report = driver(folder.path(), None).apply(&wanted).await.unwrap();
    assert!(refusals(&report).iter().all(|(_, reason)| *reason == Refusal::Name));
    assert_eq!((report.refused.len(), report.written.len()), (6, 0));
    let long = "#".repeat(2 << 20);
    let report = driver(folder.path(), None).apply(&[file(ONE, &long)]).await.unwrap();
    assert_eq!(refusals(&report), [(ONE, Refusal::TooLong)]);
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let torn = [("a", ""), ("b", &MARKER[..7]), ("c", &format!("{MARKER}\nkind"))]
        .map(|(name, text)| (format!(".selvedge-q-{name}.yaml.selvedge-tmp"), text.to_owned()));
    for (name, text) in torn {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let report = driver(folder.path(), None).apply(&[file(ONE, "kind: A")]).await.unwrap();
    assert!(report.complete());
    assert_eq!(names(folder.path()), [ONE]);
}

#[tokio::test]
async fn what_cannot_be_written_is_said_with_its_reason_and_the_rest_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let first = driver(folder.path(), None).apply(&[file(ONE, "kind: A")]).await.unwrap();
    assert!(first.complete());
    // A folder in the way of the unfinished file: the write fails for everybody, root included.
    fs::create_dir(folder.path().join(format!(".{TWO}.selvedge-tmp"))).unwrap();
    let report = driver(folder.path(), None).apply(&[file(TWO, "kind: B")]).await.unwrap();
    let failure = &report.failed[0];
    assert_eq!((failure.name.as_str(), failure.doing), (TWO, "write"));
    assert_eq!(failure.source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(report.removed, [ONE], "what ended is taken back all the same");
    assert!(!folder.path().join(TWO).exists());
}

#[tokio::test]
async fn a_link_in_the_place_of_the_unfinished_file_is_not_followed() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    driver(folder.path(), None).apply(&[file(ONE, "kind: A")]).await.unwrap();
    symlink(elsewhere.path(), folder.path().join(format!(".{ONE}.selvedge-tmp"))).unwrap();
    let report = driver(folder.path(), None).apply(&[file(ONE, "kind: B")]).await.unwrap();
    assert_eq!((report.failed.len(), report.rewritten.len()), (1, 0));
    assert_eq!(fs::read(elsewhere.path()).unwrap(), b"");
    assert!(fs::read_to_string(folder.path().join(ONE)).unwrap().ends_with("kind: A\n"));
}

/// Files may grow to this; the disk is as good as full.
const KIBIBYTES: u32 = 8;

/// Not a test: the child of the next one. Says what failed, and which files there are.
#[tokio::test]
async fn child_fills_the_folder() {
    let Some(folder) = child::place() else { return };
    let folder = Path::new(&folder);
    let driver = driver(folder, None);
    driver.apply(&[file(ONE, "kind: A")]).await.unwrap();
    let large = "# filling\n".repeat(60_000);
    let report = driver.apply(&[file(ONE, &large), file(TWO, &large)]).await.unwrap();
    for failure in &report.failed {
        println!("failed {} {} {:?}", failure.doing, failure.name, failure.source.kind());
    }
    println!("left {:?}", names(folder));
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_the_old_files_whole_and_no_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let said = child::run_with_file_size_max("yaml::child_fills_the_folder", folder.path(), KIBIBYTES);
    let failed = |name: &str| format!("failed write {name} FileTooLarge");
    for line in [failed(ONE), failed(TWO), format!("left {:?}", [ONE])] {
        assert!(said.contains(&line), "`{line}` is missing in {said}");
    }
    assert!(fs::read_to_string(folder.path().join(ONE)).unwrap().ends_with("kind: A\n"));
    assert_eq!(driver(folder.path(), None).apply(&[]).await.unwrap().removed, [ONE]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_and_is_not_made() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("policies");
    let error = driver(&folder, None).apply(&[]).await.unwrap_err();
    assert!(matches!(error, YamlError::Folder { .. }));
    assert!(!folder.exists());
}

/// Runs git for the test itself.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let run = Command::new("git")
        .args(["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn changes_are_committed_ours_only_and_a_failed_commit_is_made_up_for() {
    let repository = tempfile::tempdir().unwrap();
    git(repository.path(), &["init", "--quiet"]);
    let folder = repository.path().join("policies");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("theirs.yaml"), "kind: Theirs\n").unwrap();
    fs::write(folder.join("selvedge-q-theirs.yaml"), "kind: Theirs\n").unwrap();
    git(&folder, &["add", "theirs.yaml"]);
    let driver = driver(&folder, Some(GitConfig::default()));

    let report = driver.apply(&[file(ONE, "kind: A")]).await.unwrap();
    assert_eq!(report.commit, Some(git(&folder, &["rev-parse", "HEAD"])));
    assert_eq!(git(&folder, &["ls-tree", "--name-only", "HEAD"]), ONE);
    assert_eq!(git(&folder, &["log", "-1", "--format=%an"]), "Selvedge");
    assert_eq!(driver.apply(&[file(ONE, "kind: A")]).await.unwrap().commit, None);

    let hook = repository.path().join(".git/hooks/pre-commit");
    fs::write(&hook, "#!/bin/sh\necho not today >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let report = driver.apply(&[file(TWO, "kind: B")]).await.unwrap();
    let Some(GitError::Failed { command: "commit", message }) = report.git_failure else {
        panic!("{report:?}")
    };
    assert_eq!(message, "not today");
    assert_eq!(names(&folder), ["selvedge-q-00000000000000b2.yaml", "selvedge-q-theirs.yaml", "theirs.yaml"]);

    fs::remove_file(hook).unwrap();
    let report = driver.apply(&[file(TWO, "kind: B")]).await.unwrap();
    assert!(report.commit.is_some() && report.unchanged == 1);
    assert_eq!(git(&folder, &["ls-tree", "--name-only", "HEAD"]), TWO);
    assert_eq!(git(&folder, &["diff", "--cached", "--name-only"]), "policies/theirs.yaml");
}

#[tokio::test]
async fn a_folder_outside_any_repository_is_written_and_the_missing_commit_said() {
    let folder = tempfile::tempdir().unwrap();
    let driver = driver(folder.path(), Some(GitConfig::default()));
    let report = driver.apply(&[file(ONE, "kind: A")]).await.unwrap();
    assert_eq!(report.written, [ONE]);
    assert!(matches!(report.git_failure, Some(GitError::Failed { .. })));
}
