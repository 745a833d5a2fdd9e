//! A child process that works until it is killed: the same test binary again, told so by an environment
//! variable.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PLACE: &str = "SELVEDGE_TEST_PLACE";

/// Where to work, in a child; `None` in a run of the tests.
pub(crate) fn place() -> Option<OsString> {
    std::env::var_os(PLACE)
}

/// The command that runs the test `name` of this binary as a child that works at `place`.
fn command(name: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(PLACE, place);
    command
}

/// Lets a child work and kills it `grace` after it has said `ready`; when `early`, after it was started.
/// Returns the lines it said that begin with `ack `, without that. A line that the kill cut short is not among
/// them.
pub(crate) fn run_and_kill(name: &str, place: &Path, grace: Duration, early: bool) -> Vec<String> {
    let mut child = command(name, place).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let (send, said) = mpsc::sync_channel(64);
    let reader = std::thread::spawn(move || read(out, &send));
    if !early {
        assert_eq!(said.recv().expect("the child begins"), "ready");
    }
    let killer = std::thread::spawn(move || kill_after(grace, child));
    let acknowledged = said.iter().filter_map(|line| line.strip_prefix("ack ").map(str::to_owned)).collect();
    killer.join().unwrap();
    reader.join().unwrap();
    acknowledged
}

/// Runs a child whose files may grow to `kibibytes`, until it ends by itself, and returns what it said.
pub(crate) fn run_with_file_size_max(name: &str, place: &Path, kibibytes: u32) -> String {
    let child = command(name, place);
    let mut limited = Command::new("bash");
    // An ignored signal makes the limit an error of the write, as on a full disk.
    limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$@\""), "bash"]);
    limited.arg(child.get_program()).args(child.get_args()).env(PLACE, place);
    String::from_utf8(limited.output().unwrap().stdout).unwrap()
}

fn read(out: ChildStdout, send: &mpsc::SyncSender<String>) {
    let mut out = BufReader::new(out);
    let mut line = String::new();
    while out.read_line(&mut line).is_ok_and(|read| 0 < read) {
        if let Some(whole) =
            line.strip_suffix('\n').filter(|line| *line == "ready" || line.starts_with("ack "))
        {
            send.send(whole.to_owned()).unwrap();
        }
        line.clear();
    }
}

/// Waits on a channel on which nothing comes, which is a wait that ends at a random moment of the child's work.
fn kill_after(grace: Duration, mut child: Child) {
    let (_open, never) = mpsc::sync_channel::<()>(0);
    assert!(never.recv_timeout(grace).is_err());
    child.kill().unwrap();
    child.wait().unwrap();
}
