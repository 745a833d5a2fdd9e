//! Arguments of `doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Configuration file of the engine, running or not.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the running engine's API [default: that of `serve.endpoint`].
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with a bearer token, for a proxy in front of the API; or the variable SELVEDGE_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// For which mesh the snippets are [default: as the identities look].
    #[arg(long, value_enum)]
    pub(crate) mesh: Option<Mesh>,
    /// As JSON, for programs (`schemas/doctor.v1.schema.json`).
    #[arg(long)]
    pub(crate) json: bool,
}

/// What proxies are configured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mesh {
    /// Bootstrap files of Envoy.
    Envoy,
    /// Resources of Istio.
    Istio,
    /// Helm values of Linkerd, and a Collector.
    Linkerd,
}
