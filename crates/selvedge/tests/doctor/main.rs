//! `selvedge doctor` on things that are really broken, and on what is not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod broken;
#[allow(dead_code, reason = "the tests of the journal use the rest")]
#[path = "../journal/live.rs"]
mod live;
mod reporters;

use std::process::Command;

use live::Place;
use serde_json::Value;

/// What it says as JSON, and its exit code.
struct Told {
    code: i32,
    document: Value,
}

/// A doctor of the engine of this place.
fn doctor(place: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.args(["doctor", "--config", place.path("selvedge.yaml").to_str().unwrap()]);
    command.env("NO_COLOR", "1").env_remove("SELVEDGE_TOKEN").current_dir(place.folder.path());
    command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", place.path("state"));
    command
}

fn told(place: &Place) -> Told {
    told_by(doctor(place))
}

fn told_by(mut doctor: Command) -> Told {
    let output = doctor.arg("--json").output().unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    Told { code: output.status.code().unwrap(), document }
}

impl Told {
    fn checks(&self, group: &str) -> Vec<&Value> {
        let groups = self.document["groups"].as_array().unwrap().iter();
        groups.filter(|one| one["name"] == group).flat_map(|one| one["checks"].as_array().unwrap()).collect()
    }

    /// Those of a level.
    fn of(&self, group: &str, level: &str) -> Vec<&Value> {
        self.checks(group).into_iter().filter(|check| check["level"] == level).collect()
    }

    /// The one check of a level and subject; its words.
    fn only(&self, group: &str, level: &str) -> String {
        match self.of(group, level)[..] {
            [one] => format!("{}: {} | {}", text(&one["subject"]), text(&one["text"]), text(&one["advice"])),
            _ => panic!("not one {level} in {group}: {:#}", self.document),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
