//! Ports that a start needs: free, held by the running engine, or in somebody else's way.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::super::check::{Check, Level};
use super::Known;
use crate::config::Config;

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";
/// Columns of `/proc/net/tcp`: the local address, the state, the inode.
const COLUMNS: (usize, usize, usize) = (1, 3, 9);

/// Where `run` listens.
struct Listener {
    what: &'static str,
    key: &'static str,
    address: SocketAddr,
}

/// What stands in the way, or nothing.
#[derive(Debug, PartialEq)]
enum Port {
    Free,
    Held(Option<Holder>),
    Refused(String),
}

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) name: String,
}

/// A line a port, and the process that holds the API's when that is the engine.
pub(super) fn look(config: &Config, known: Known) -> (Vec<Check>, Option<Holder>) {
    let mut engine = None;
    let mut checks = Vec::new();
    for listener in listeners(config) {
        let port = probe(listener.address);
        if let (Known::Answers, "API", Port::Held(holder)) = (known, listener.what, &port) {
            engine.clone_from(holder);
        }
        checks.push(judge(&listener, &port, known));
    }
    (checks, engine)
}

fn listeners(config: &Config) -> Vec<Listener> {
    let (grpc, http) = (&config.receive.grpc, &config.receive.http);
    let all = [
        (
            "OTLP gRPC",
            "receivers.otlp.protocols.grpc.endpoint",
            grpc.as_ref().map(|grpc| grpc.listen.address),
        ),
        (
            "OTLP HTTP",
            "receivers.otlp.protocols.http.endpoint",
            http.as_ref().map(|http| http.listen.address),
        ),
        ("API", "serve.endpoint", Some(config.serve.endpoint())),
        ("SQL", "sql.endpoint", config.sql.as_ref().map(|sql| sql.endpoint)),
        ("xDS", "quarantine.xds.endpoint", config.enforcement.as_ref().map(|settings| settings.endpoint)),
    ];
    let listener = |(what, key, address): (_, _, Option<SocketAddr>)| {
        Some(Listener { what, key, address: address.filter(|address| address.port() != 0)? })
    };
    all.into_iter().filter_map(listener).collect()
}

/// Listens for a moment.
fn probe(address: SocketAddr) -> Port {
    match TcpListener::bind(address) {
        Ok(_) => Port::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Port::Held(holder(address.port())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Port::Refused(
            "this user may not listen on it (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned(),
        ),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            Port::Refused("no interface of this machine has this address".to_owned())
        }
        Err(error) => Port::Refused(error.to_string()),
    }
}

fn judge(listener: &Listener, port: &Port, known: Known) -> Check {
    let Listener { what, key, address } = listener;
    let subject = format!("{what} {address}");
    let elsewhere = format!("end what holds it, or set `{key}`");
    match port {
        Port::Free if known == Known::Answers => {
            Check::warn(subject, "nobody listens, but an engine answers at the address of its API")
                .advise("it runs with another configuration: give its file with --config")
        }
        Port::Free => Check::ok(subject, "free"),
        Port::Held(Some(Holder { pid, name })) if name == "selvedge" => match known {
            Known::Answers => Check::ok(subject, format!("held by the running engine (process {pid})")),
            Known::NotAsked => {
                Check::ok(subject, format!("held by a selvedge that was not asked (process {pid})"))
            }
            Known::Silent => Check::fail(
                subject,
                format!("held by a selvedge that does not answer as an engine (process {pid})"),
            )
            .advise(format!("look at it with --url and its own address, or {elsewhere}")),
        },
        Port::Held(Some(Holder { pid, name })) => {
            Check::fail(subject, format!("held by {} (process {pid})", selvedge_act::visible(name)))
                .advise(elsewhere)
        }
        Port::Held(None) if known == Known::Answers => {
            Check::ok(subject, "held, as it seems by the engine that answers")
        }
        Port::Held(None) => {
            let level = if known == Known::NotAsked { Level::Unknown } else { Level::Fail };
            Check::new(level, subject, "held by a process that this user may not see").advise(elsewhere)
        }
        Port::Refused(reason) => Check::fail(subject, reason.clone()).advise(format!("set `{key}`")),
    }
}

/// Who listens on a port, as far as this user may know.
fn holder(port: u16) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|table| listening(table, port)).collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
        let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.into_iter().any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str())) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim().to_owned() });
        }
    }
    None
}

/// How links of `/proc/*/fd` name the sockets that listen on a port.
fn listening(table: &str, port: u16) -> Vec<String> {
    let (local, state, inode) = COLUMNS;
    let rows = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, number) = columns.get(local)?.rsplit_once(':')?;
        let ours = u16::from_str_radix(number, 16) == Ok(port) && columns.get(state) == Some(&LISTENS);
        ours.then(|| Some(format!("socket:[{}]", columns.get(inode)?)))?
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        let address = SocketAddr::from(([127, 0, 0, 1], 4317));
        Listener { what: "OTLP gRPC", key: "receivers.otlp.protocols.grpc.endpoint", address }
    }

    #[test]
    fn who_listens_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:10DD 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4242 1 0 100 0 0 10 0\n\
             1: 0100007F:10DD 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 4343 1 0 100 0 0 10 0\n";
        assert_eq!(listening(table, 4317), ["socket:[4242]"]);
        assert_eq!(listening(table, 4318), Vec::<String>::new());
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let Port::Held(Some(holder)) = probe(address) else { panic!("it is held, and by us") };
        assert_eq!(holder.pid, std::process::id());
        drop(held);
        assert_eq!(probe(address), Port::Free);
    }

    #[test]
    fn a_port_is_as_it_should_be_when_it_is_free_or_the_engines() {
        let by = |name: &str| Port::Held(Some(Holder { pid: 7, name: name.to_owned() }));
        for (port, known, level) in [
            (Port::Free, Known::Silent, Level::Ok),
            (Port::Free, Known::Answers, Level::Warn),
            (Port::Free, Known::NotAsked, Level::Ok),
            (by("selvedge"), Known::Answers, Level::Ok),
            (by("selvedge"), Known::Silent, Level::Fail),
            (by("selvedge"), Known::NotAsked, Level::Ok),
            (by("otelcol"), Known::Answers, Level::Fail),
            (by("otelcol"), Known::NotAsked, Level::Fail),
            (Port::Held(None), Known::Answers, Level::Ok),
            (Port::Held(None), Known::Silent, Level::Fail),
            (Port::Held(None), Known::NotAsked, Level::Unknown),
            (Port::Refused("no".to_owned()), Known::Silent, Level::Fail),
        ] {
            let check = judge(&listener(), &port, known);
            assert_eq!(check.level, level, "{check:?}");
            assert_eq!(check.advice.is_empty(), level == Level::Ok, "{check:?}");
        }
        let told = judge(&listener(), &by("otelcol"), Known::Silent);
        assert!(told.text.contains("otelcol (process 7)") && told.advice.contains("protocols.grpc.endpoint"));
    }
}
