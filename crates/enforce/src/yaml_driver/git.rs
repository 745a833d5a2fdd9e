//! Commits of our files, by the `git` command: its configuration, hooks and credentials are the user's.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::{NAME_PREFIX, Report};

/// Bytes kept of what git says when it fails.
const MESSAGE_BYTES_MAX: usize = 1024;

/// How changes are committed.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// Author and committer, as `Name <address>` has it: the name.
    pub author_name: String,
    /// The address.
    pub author_email: String,
    /// Pushes after a commit, to where the branch is set up to push.
    pub push: bool,
    /// How long one command may take; hooks and the network count.
    pub timeout: Duration,
}

impl Default for GitConfig {
    fn default() -> Self {
        Self {
            author_name: "Selvedge".to_owned(),
            author_email: "selvedge@localhost".to_owned(),
            push: false,
            timeout: Duration::from_secs(30),
        }
    }
}

/// Why a commit or push failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git`, or it may not be run.
    #[error("cannot run git")]
    Run(#[source] io::Error),
    /// It took too long and was ended.
    #[error("git {command} took longer than {limit:?}")]
    Timeout {
        /// The subcommand.
        command: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// It says no.
    #[error("git {command} failed: {message}")]
    Failed {
        /// The subcommand.
        command: &'static str,
        /// Its last words.
        message: String,
    },
}

/// Commits what differs from the last commit among our files. `None` when nothing does.
pub(super) async fn commit(
    config: &GitConfig,
    folder: &Path,
    report: &Report,
) -> Result<Option<String>, GitError> {
    let git = Git { config, folder };
    let pattern = format!("{NAME_PREFIX}*.yaml");
    let foreign: BTreeSet<&str> = report.refused.iter().map(|refused| refused.name.as_str()).collect();
    let ours = |listed: Vec<u8>| -> Vec<String> {
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let names = listed.split('\0').filter(|name| !name.is_empty() && !foreign.contains(name));
        names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let list = ["-z", "--modified", "--deleted", "--others", "--exclude-standard", "--", &pattern];
    let changed = ours(git.run("ls-files", list).await?);
    if !changed.is_empty() {
        git.run("add", ["-A", "--"].into_iter().chain(changed.iter().map(String::as_str))).await?;
    }
    let staged = ["--cached", "--name-only", "--no-renames", "--relative", "-z", "--", &pattern];
    let staged = ours(git.run("diff", staged).await?);
    if staged.is_empty() {
        return Ok(None);
    }
    let message = message(report);
    let options = ["--quiet", "-m", &message, "--only", "--"];
    git.run("commit", options.into_iter().chain(staged.iter().map(String::as_str))).await?;
    let commit = git.run("rev-parse", ["HEAD"]).await?;
    if config.push {
        git.run("push", ["--quiet"]).await?;
    }
    Ok(Some(String::from_utf8_lossy(&commit).trim().to_owned()))
}

fn message(report: &Report) -> String {
    use std::fmt::Write as _;
    let mut text = "Selvedge: quarantines as of now\n".to_owned();
    for (what, names) in
        [("added", &report.written), ("changed", &report.rewritten), ("removed", &report.removed)]
    {
        for name in names {
            write!(text, "\n{what} {name}").expect("a string takes everything");
        }
    }
    text
}

struct Git<'a> {
    config: &'a GitConfig,
    folder: &'a Path,
}

impl Git<'_> {
    async fn run<'s>(
        &self,
        command: &'static str,
        arguments: impl IntoIterator<Item = &'s str>,
    ) -> Result<Vec<u8>, GitError> {
        let GitConfig { author_name, author_email, timeout: limit, .. } = self.config;
        let running = Command::new("git")
            .current_dir(self.folder)
            .arg("-c")
            .arg(format!("user.name={author_name}"))
            .arg("-c")
            .arg(format!("user.email={author_email}"))
            .arg(command)
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", if command == "add" || command == "commit" { "1" } else { "0" })
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let Output { status, stdout, stderr } = timeout(*limit, running)
            .await
            .map_err(|_| GitError::Timeout { command, limit: *limit })?
            .map_err(GitError::Run)?;
        if status.success() {
            return Ok(stdout);
        }
        let said = String::from_utf8_lossy(if stderr.is_empty() { &stdout } else { &stderr }).into_owned();
        let said = said.trim();
        let message = said[..said.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned();
        Err(GitError::Failed { command, message })
    }
}
