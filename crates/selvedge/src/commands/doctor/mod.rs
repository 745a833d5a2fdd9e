//! `selvedge doctor`: what is wrong, or will go wrong, with machine, journal, checkpoints, and what proxies send.
//!
//! Looks and changes nothing, also beside a running engine. Facts are gathered by `machine/`, `stored.rs`, `checkpoints.rs`
//! and `engine.rs`, judged by pure functions beside them and in `reporters/`, and told by `report.rs`. Start reading here.

mod check;
mod checkpoints;
mod engine;
mod machine;
mod report;
mod reporters;
mod snippets;
mod stored;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use selvedge_act::Secret;

use self::check::{Group, Level};
use self::engine::Engine;
use self::machine::{Drift, Known};
use self::report::Report;
use self::reporters::{Bounds, Scene};
use crate::cli::DoctorArgs;
use crate::clock::SystemClock;
use crate::exit::{Failure, Outcome};
use crate::{config, logging, output};

/// Columns when nobody says otherwise.
const WIDTH: usize = 110;
/// More only makes lines harder to read.
const WIDTH_MAX: usize = 140;

pub(crate) fn run(args: &DoctorArgs) -> Outcome {
    let config = config::load(args.config.as_deref())?;
    let token = token(args)?;
    let url = args.url.clone().unwrap_or_else(|| address(config.serve.endpoint()));
    let clock = SystemClock::start();
    let drift = Drift::begin(clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = runtime.block_on(engine::ask(&url, token.as_ref())).map_err(Failure::usage)?;
    let version = env!("CARGO_PKG_VERSION");
    let mut asked = vec![engine::judge(&engine, &url, version)];
    let endpoint = config.serve.endpoint();
    let known = match engine {
        _ if !engine::is_ours(&url, endpoint) => Known::NotAsked,
        Engine::Answers { .. } => Known::Answers,
        Engine::Silent(_) | Engine::Strange(_) => Known::Silent,
    };
    if known == Known::NotAsked {
        asked.push(engine::elsewhere(endpoint));
    }
    let mut groups = vec![Group { name: "engine", title: "Engine".to_owned(), checks: asked }];
    groups.extend(machine::look(&config, known, &clock));
    let now = SystemClock::read();
    groups.extend(stored::look(&config, now));
    if let (Some(stepped), Some(clock)) = (drift.end(), groups.iter_mut().find(|group| group.name == "clock"))
    {
        clock.checks.push(stepped);
    }
    let mut heard = Vec::new();
    if let Engine::Answers { reporters, uncounted, .. } = engine {
        let mesh = args.mesh.unwrap_or_else(|| reporters::guess(&reporters));
        let bounds = Bounds::of(&config.engine);
        let scene = Scene { reporters: &reporters, uncounted, mesh, now, bounds };
        groups.push(reporters::judge(&scene));
        heard = reporters;
    }
    let reporters = heard;
    tell(&Report { groups, reporters, url, version }, args.json)
}

fn tell(report: &Report, json: bool) -> Outcome {
    let mut out = output::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report.document())?)?;
    } else {
        let colour = std::io::stdout().is_terminal() && logging::colour_allowed();
        let columns =
            terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
        let width = columns.unwrap_or(WIDTH).min(WIDTH_MAX);
        out.write_all(report.text(width, colour, SystemClock::read()).as_bytes())?;
    }
    match report.count(Level::Fail) {
        0 => Ok(()),
        1 => Err(anyhow::anyhow!("one check failed").into()),
        failed => Err(anyhow::anyhow!("{failed} checks failed").into()),
    }
}

/// The token of the file, or of `SELVEDGE_TOKEN`.
fn token(args: &DoctorArgs) -> anyhow::Result<Option<Secret>> {
    let given = match &args.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.with_context(|| format!("cannot read {}", path.display()))?.trim().to_owned())
        }
        None => None,
    };
    Ok(logging::token(given.as_deref()).map(Secret::new))
}

/// Where the API can be asked from this machine.
fn address(endpoint: SocketAddr) -> String {
    let ip = match endpoint.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, endpoint.port()))
}
