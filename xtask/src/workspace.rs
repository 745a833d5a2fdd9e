//! The workspace as Cargo and git see it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::steps;

/// How a package depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// It ships with it.
    Normal,
    /// Only its tests need it.
    Dev,
    /// Only its build script needs it.
    Build,
}

/// A member of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Package name.
    pub(crate) name: String,
    /// Folder, relative to the root.
    pub(crate) folder: PathBuf,
    /// Kinds of its targets, as Cargo names them: `lib`, `bin`, `test`.
    pub(crate) targets: BTreeSet<String>,
    /// Names of the packages that its manifest names, and how it needs them.
    pub(crate) needs: BTreeSet<(String, Need)>,
    /// Names of all packages that are linked into it, at any distance, tests and build scripts left out.
    pub(crate) linked: BTreeSet<String>,
}

/// What `cargo metadata` says.
pub(crate) struct Workspace {
    /// Where the root manifest is.
    pub(crate) root: PathBuf,
    /// Where Cargo builds.
    pub(crate) target: PathBuf,
    /// Members, by name.
    pub(crate) members: Vec<Member>,
}

impl Workspace {
    /// Asks Cargo.
    ///
    /// # Errors
    /// When Cargo cannot say, for instance because a manifest is broken.
    pub(crate) fn load() -> Result<Self> {
        // Without a platform, Cargo would first download what only other systems need.
        let version = steps::output(Command::new("rustc").arg("-vV"))?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc -vV names no host")?;
        let text =
            steps::output(cargo().args(["metadata", "--format-version", "1", "--filter-platform", host]))?;
        let metadata = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        Self::parse(&metadata).context("cargo metadata has not the shape that is expected")
    }

    fn parse(metadata: &Value) -> Option<Self> {
        let root = PathBuf::from(metadata["workspace_root"].as_str()?);
        let target = PathBuf::from(metadata["target_directory"].as_str()?);
        let linked = Linked::parse(metadata)?;
        let member_ids: BTreeSet<&str> =
            metadata["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
        let mut members = Vec::new();
        for package in metadata["packages"].as_array()? {
            let id = package["id"].as_str()?;
            if member_ids.contains(id) {
                members.push(member(package, &root, linked.reached_from(id))?);
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Self { root, target, members })
    }

    /// Files that git knows or would add, relative to the root.
    ///
    /// # Errors
    /// When git cannot say.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = self.git();
        git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let mut files = lines(&steps::output(&mut git)?);
        files.retain(|file| self.root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Files that differ from HEAD, new ones included, relative to the root.
    ///
    /// # Errors
    /// When git cannot say.
    pub(crate) fn changed_files(&self) -> Result<Vec<PathBuf>> {
        let changed = steps::output(self.git().args(["diff", "--name-only", "HEAD"]))?;
        let new = steps::output(self.git().args(["ls-files", "--others", "--exclude-standard"]))?;
        Ok(lines(&(changed + &new)))
    }

    /// git, at the root.
    pub(crate) fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.root);
        git
    }

    /// Cargo, at the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(&self.root);
        cargo
    }
}

/// The Cargo that started us.
fn cargo() -> Command {
    Command::new(steps::variable("CARGO").unwrap_or_else(|| "cargo".to_owned()))
}

fn lines(text: &str) -> Vec<PathBuf> {
    text.lines().map(PathBuf::from).collect()
}

fn member(package: &Value, root: &Path, linked: BTreeSet<String>) -> Option<Member> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let targets = package["targets"].as_array()?.iter().filter_map(|target| target["kind"].as_array());
    let targets = targets.flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut needs = BTreeSet::new();
    for dependency in package["dependencies"].as_array()? {
        let need = match dependency["kind"].as_str() {
            Some("dev") => Need::Dev,
            Some("build") => Need::Build,
            _ => Need::Normal,
        };
        needs.insert((dependency["name"].as_str()?.to_owned(), need));
    }
    Some(Member {
        name: package["name"].as_str()?.to_owned(),
        folder: manifest.parent()?.strip_prefix(root).ok()?.to_owned(),
        targets,
        needs,
        linked,
    })
}

/// The resolved graph of what is linked into what.
struct Linked<'a> {
    names: BTreeMap<&'a str, &'a str>,
    arrows: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Linked<'a> {
    fn parse(metadata: &'a Value) -> Option<Self> {
        let mut names = BTreeMap::new();
        for package in metadata["packages"].as_array()? {
            names.insert(package["id"].as_str()?, package["name"].as_str()?);
        }
        let mut arrows = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array()? {
            let shipped = node["deps"].as_array()?.iter().filter(|dependency| {
                dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
            });
            let to = shipped.filter_map(|dependency| dependency["pkg"].as_str()).collect();
            arrows.insert(node["id"].as_str()?, to);
        }
        Some(Self { names, arrows })
    }

    /// Names of everything that is linked into a package.
    fn reached_from(&self, id: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            for &next in self.arrows.get(at).into_iter().flatten() {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        reached.iter().filter_map(|id| self.names.get(id)).map(|&name| name.to_owned()).collect()
    }
}
