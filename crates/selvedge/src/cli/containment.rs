//! Arguments of `quarantine`, `policy` and `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `quarantine`.
#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    pub(crate) command: QuarantineCommand,
}

/// The engine that is asked.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Address of the running engine's API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4319")]
    pub(crate) url: String,
    /// Bearer token of `serve.auth`; better in the variable SELVEDGE_TOKEN.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) format: Form,
}

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do with quarantines.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List quarantines, newest first.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = ["proposed", "shadow", "enforced", "lifted", "expired"])]
        state: Option<String>,
        /// Only those of this incident.
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Show what a quarantine cuts, on what evidence, what it would have denied, what it will not stop, and its policy.
    Preview {
        /// Id of the quarantine.
        id: String,
        /// Enforcement point that the policy is written for.
        #[arg(long, default_value = "envoy", value_parser = target_names())]
        target: String,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Have a proposed quarantine, or one that is a dry run, enforced. Needs the token.
    Approve {
        /// Id of the quarantine.
        id: String,
        /// Why, in a sentence.
        #[arg(long, default_value = "")]
        why: String,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Take a quarantine back. Needs the token.
    Lift {
        /// Id of the quarantine.
        id: String,
        /// Why, in a sentence.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        engine: EngineArgs,
    },
}

fn target_names() -> [&'static str; 7] {
    selvedge_policy::Target::ALL.map(selvedge_policy::Target::name)
}

/// Arguments of `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Try policies on recorded traffic: what would they have denied, whose, and how much of it was normal?
    Backtest(BacktestArgs),
    /// Write policies for a namespace under which everything goes on that normally happens, and nothing else.
    Suggest(SuggestArgs),
    /// Judge requests that are written down against policies; exit with 4 when one goes otherwise than expected.
    Test(PolicyTestArgs),
}

/// How policies are to be read.
#[derive(Debug, Args)]
pub(crate) struct MeshArgs {
    /// Istio's root namespace: policies in it are for the whole mesh.
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    pub(crate) root_namespace: String,
    /// What `cluster.local` in principals also stands for.
    #[arg(long, value_name = "DOMAIN", default_value = "")]
    pub(crate) trust_domain: String,
    /// The label of pods that holds the workload's name.
    #[arg(long, value_name = "LABEL", default_value = "app")]
    pub(crate) selector_label: String,
}

/// Arguments of `policy backtest`.
#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    /// Policies, which act together: Istio AuthorizationPolicy (YAML, several in a file), Envoy RBAC (YAML or JSON).
    #[arg(required = true, value_name = "FILE")]
    pub(crate) policies: Vec<PathBuf>,
    /// Captures whose calls are judged. May be repeated.
    #[arg(long, required = true, value_name = "CAPTURE")]
    pub(crate) capture: Vec<PathBuf>,
    /// Captures to take as an approved baseline first: calls like theirs are normal. May be repeated.
    #[arg(long, value_name = "CAPTURE")]
    pub(crate) learn: Vec<PathBuf>,
    /// Judge only calls to this workload: Envoy RBAC does not say where it stands.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = workload)]
    pub(crate) workload: Option<(String, String)>,
    /// Exit with 4 when more normal calls than this would have been denied, those counted of which the record does not
    /// say enough, or when a policy selects none of the calls.
    #[arg(long, value_name = "N")]
    pub(crate) max_denied_normal: Option<u64>,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) format: Form,
    /// Configuration file, for the captures.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

fn workload(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("is not NAMESPACE/NAME".to_owned()),
    }
}

/// Arguments of `policy suggest`.
#[derive(Debug, Args)]
pub(crate) struct SuggestArgs {
    /// Namespace that the policies are for.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Captures of normal traffic. May be repeated.
    #[arg(long, required = true, value_name = "CAPTURE")]
    pub(crate) learn: Vec<PathBuf>,
    /// Write NAMESPACE.policies.yaml and NAMESPACE.cases.yaml into this folder. Without it the policies are printed.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How Istio stands in front of the workloads.
    #[arg(long, value_enum, default_value_t = IstioDeployment::Sidecar)]
    pub(crate) deployment: IstioDeployment,
    /// Configuration file, for the captures.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

/// How Istio is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IstioDeployment {
    /// An Envoy beside each workload.
    Sidecar,
    /// The node's ztunnel only.
    Ambient,
    /// A waypoint in front of the services.
    Waypoint,
}

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub(crate) struct PolicyTestArgs {
    /// Files of cases; the policies that they name are read relative to them.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Also print cases that went as expected.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every record of the log; exit with 4 when one was changed, removed or moved, and name the first.
    ///
    /// Records after the last signed checkpoint can be rewritten or removed unnoticed by who can write the file, and so
    /// can log and head be set back together: keep the number and hash of the last record elsewhere.
    Verify {
        /// Folder with `audit.log`, or the one that `quarantine.folder` names.
        folder: PathBuf,
        /// Public key, as 64 hex digits or a file with them. Without it: the key beside the log.
        #[arg(long, value_name = "FILE|HEX")]
        key: Option<String>,
        /// How the result is written.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        format: Form,
    },
}
