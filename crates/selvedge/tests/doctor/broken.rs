//! Machines, journals and checkpoints that are broken, and whole ones.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use selvedge_testkit::free_addresses;

use crate::live::{Place, Sender, spans};
use crate::{doctor, text, told, told_by};

const JOURNAL: &str = "journal: {path: journal}\n";

fn send(place: &Place, batches: u128) {
    let mut sender = Sender::connect(place.http).unwrap();
    for number in 1..=batches {
        let body = spans(&[format!("{number:032x}")], 1);
        assert_eq!(sender.send("traces", "application/json", &body), Some(200));
    }
}

/// The files of a folder with this at the end of their names, in order.
fn files(place: &Place, folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    files.sort();
    files
}

#[test]
fn without_configuration_and_engine_it_says_what_it_can_and_what_it_needs() {
    let [nowhere] = free_addresses();
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.args(["doctor", "--url", &format!("http://{nowhere}")]);
    let output = command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", state.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for part in
        ["no engine answers at", "start `selvedge run`", "OTLP gRPC", "wall clock", "open files", "fdatasync"]
    {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours beside a terminal");
}

#[test]
fn a_configuration_that_is_wrong_ends_with_its_own_code() {
    let place = Place::new("journal: {pth: journal}\n");
    let output = doctor(&place).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(doctor(&place).args(["--no-such-option"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_port_that_somebody_holds_fails_with_who_it_is() {
    let place = Place::new(JOURNAL);
    assert_eq!(told(&place).of("ports", "fail").len(), 0);
    let _held = TcpListener::bind(place.http).unwrap();
    let said = told(&place);
    let line = said.only("ports", "fail");
    let us = format!("(process {})", std::process::id());
    assert!(line.contains(&place.http.to_string()) && line.contains(&us), "{line}");
    assert!(line.contains("receivers.otlp.protocols.http.endpoint"), "{line}");
    assert_eq!((said.code, said.document["level"].as_str()), (1, Some("fail")));
}

#[test]
fn a_folder_that_cannot_be_written_to_fails_and_says_whose_it_is() {
    // Nobody may write there, whoever runs the test.
    let place = Place::new("journal: {path: /proc/selvedge/journal}\n");
    let line = told(&place).only("disk", "fail");
    assert!(
        line.contains("cannot be written to")
            && line.contains("owner: user")
            && line.contains("journal.path"),
        "{line}"
    );
}

#[test]
fn certificates_and_secrets_are_judged_by_what_is_in_them() {
    let place = Place::new("");
    let mut parameters = rcgen::CertificateParams::new(vec!["otlp.example".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let tls = "tls: {cert_file: server.pem, key_file: server.key}, auth: {bearer_token_file: token}";
    let [http, api, sql] = free_addresses();
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{http}\", {tls}}}}}}}}}\nserve: {{endpoint: \"{api}\"}}\n\
         sql: {{endpoint: \"{sql}\"}}\njournal: {{path: journal}}\n"
    );
    fs::write(place.path("selvedge.yaml"), text).unwrap();
    fs::write(place.path("server.key"), key.serialize_pem()).unwrap();
    fs::write(place.path("token"), "a-secret-nobody-may-read\n").unwrap();
    let private = |name: &str, mode| {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    private("server.key", 0o600);
    private("token", 0o644);
    let certificate = |parameters: &rcgen::CertificateParams| {
        fs::write(place.path("server.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    };
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    certificate(&parameters);
    let said = told(&place);
    let line = said.only("files", "fail");
    assert!(line.contains("tls.cert_file") && line.contains("expired"), "{line}");
    let line = said.only("files", "warn");
    assert!(line.contains("token can be read by everybody") && line.contains("chmod o-r"), "{line}");
    assert!(!said.document.to_string().contains("a-secret-nobody"), "a secret is told");
    parameters.not_after = rcgen::date_time_ymd(2100, 1, 1);
    certificate(&parameters);
    private("token", 0o600);
    let said = told(&place);
    assert_eq!((said.of("files", "ok").len(), said.checks("files").len()), (3, 3), "{:#}", said.document);
    fs::remove_file(place.path("token")).unwrap();
    assert!(told(&place).only("files", "fail").contains("cannot be read"));
}

/// Scenario: every alert sink, and Kafka both ways, names secrets and certificates; none of them is there.
/// Guarantees: each is looked at and told under its own key.
#[cfg(feature = "kafka")]
#[test]
fn secrets_and_certificates_of_sinks_and_of_kafka_are_looked_at() {
    let tls = "tls: {ca_file: ca.pem, cert_file: own.pem, key_file: own.key}";
    let sasl = "auth: {sasl: {mechanism: SCRAM-SHA-512, username: selvedge, password_file: password}}";
    let kafka = format!("kafka: {{brokers: [\"127.0.0.1:9092\"], {tls}, {sasl}}}");
    let alerts = format!(
        "alerts:\n  slack: {{url_file: url, ca_file: ca.pem}}\n  webhook: {{url_file: url, ca_file: ca.pem, secret_file: key}}\n  {kafka}\n"
    );
    let said = told(&Place::with_receiver(&format!(", {kafka}"), &alerts));
    let failed: Vec<&str> = said.of("files", "fail").iter().map(|check| text(&check["subject"])).collect();
    let of_kafka = |section: &str| {
        ["tls.ca_file", "tls.cert_file", "tls.key_file", "auth.sasl.password_file"]
            .map(|key| format!("{section}.kafka.{key}"))
    };
    let of_sinks =
        ["slack.url_file", "slack.ca_file", "webhook.url_file", "webhook.ca_file", "webhook.secret_file"];
    let of_sinks = of_sinks.map(|key| format!("alerts.{key}"));
    let expected = of_sinks.into_iter().chain(of_kafka("receivers")).chain(of_kafka("alerts"));
    for key in expected {
        assert!(failed.contains(&key.as_str()), "{key} is not among {failed:?}");
    }
}

/// Scenario: the engine asked is not the one of the configuration at hand, whose ports are free.
/// Guarantees: that is said once; free ports are as they should be.
#[test]
fn another_engine_is_not_taken_for_the_one_of_this_machine() {
    let (here, there) = (Place::new(JOURNAL), Place::new(JOURNAL));
    let _live = there.start(there.command(&[]));
    let mut asking = doctor(&here);
    asking.args(["--url", &format!("http://{}", there.api)]);
    let said = told_by(asking);
    assert_eq!(said.of("ports", "ok").len(), said.checks("ports").len(), "{:#}", said.document);
    assert_eq!(said.only("engine", "ok").matches("is ready").count(), 1);
    let line = said.only("engine", "unknown");
    assert!(line.starts_with("machine: ") && line.contains(&here.api.to_string()), "{line}");
}

/// Scenario: a process is killed, and its last segment ends in the middle of a frame; a start mends it.
/// Guarantees: it is told what a start will do; looking changes no byte, and takes no lock from a process that runs.
#[test]
fn a_torn_journal_is_told_and_left_as_it_is() {
    let place = Place::new(JOURNAL);
    assert_eq!(told(&place).only("journal", "ok"), "segments: none yet | ");
    let mut live = place.start(place.command(&[]));
    send(&place, 5);
    let said = told(&place);
    assert!(
        said.checks("journal")[0]["text"]
            .as_str()
            .unwrap()
            .contains(&format!("by process {}", live.child.id()))
    );
    assert!(
        said.checks("ports")
            .iter()
            .all(|check| check["text"].as_str().unwrap().contains("the running engine"))
    );
    assert_eq!(said.only("engine", "ok").matches("is ready").count(), 1);
    live.kill();
    let segment = files(&place, "journal", ".otlpcap").pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    fs::write(&segment, &bytes).unwrap();
    let line = told(&place).only("journal", "warn");
    assert!(
        line.contains("19 B that are no whole batch") && line.contains("a frame of 9 bytes ends after 2"),
        "{line}"
    );
    assert_eq!(fs::read(&segment).unwrap(), bytes, "looking changes nothing");
    place.start(place.command(&[])).end();
    let said = told(&place);
    assert_eq!(said.of("journal", "ok").len(), said.checks("journal").len(), "{:#}", said.document);
    assert_eq!(said.of("checkpoints", "ok").len(), 2, "one, and what a start does: {:#}", said.document);
}

#[test]
fn a_damaged_checkpoint_and_one_of_a_newer_version_are_told_with_what_a_start_does() {
    let place = Place::new("journal: {path: journal, replay: 0s}\n");
    let live = place.start(place.command(&[]));
    send(&place, 3);
    live.end();
    let live = place.start(place.command(&[]));
    send(&place, 3);
    live.end();
    let checkpoints = files(&place, "journal/checkpoints", ".slvckp");
    let [older, newest] = &checkpoints[..] else { panic!("{checkpoints:?}") };
    let start = |place: &Place| {
        let said = told(place);
        let line = said.checks("checkpoints").into_iter().find(|check| check["subject"] == "start");
        line.map(|line| line["text"].as_str().unwrap().to_owned())
    };
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let said = start(&place).unwrap();
    assert!(said.contains(&name(newest)) && said.contains("reads 0 batches"), "{said}");
    let whole = fs::read(newest).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(newest, &bytes).unwrap();
    let line = told(&place).only("checkpoints", "warn");
    assert!(line.contains(&name(newest)) && line.contains("it is damaged"), "{line}");
    let said = start(&place).unwrap();
    assert!(said.contains(&name(older)) && said.contains("reads 3 batches"), "{said}");
    bytes = whole;
    bytes[6..8].copy_from_slice(b"99");
    fs::write(newest, &bytes).unwrap();
    let line = told(&place).only("checkpoints", "fail");
    assert!(line.contains("version 99") && line.contains("a start refuses"), "{line}");
    assert_eq!(start(&place), None);
    assert_eq!(place.command(&[]).status().unwrap().code(), Some(1), "and so it does");
}
