//! The machine as a start would find it: ports, clock, disk, limits, files.

mod clock;
mod disk;
mod files;
mod limits;
mod ports;

use super::check::{Check, Group};
use crate::clock::SystemClock;
use crate::config::Config;

pub(super) use clock::Drift;

/// Everything that can be told without an engine; `answers`: one answers at the address of its API.
pub(super) fn look(config: &Config, answers: bool, clock: &SystemClock) -> Vec<Group> {
    let (ports, engine) = ports::look(config, answers);
    let groups = vec![
        group("ports", "Ports", ports),
        group("clock", "Clock", vec![clock::look()]),
        group("disk", "Disk", disk::look(config, clock)),
        group("limits", "Limits", limits::look(config, engine.as_ref())),
        group("files", "Certificates and secrets", files::look(config, SystemClock::read())),
    ];
    groups.into_iter().filter(|group| !group.checks.is_empty()).collect()
}

fn group(name: &'static str, title: &str, checks: Vec<Check>) -> Group {
    Group { name, title: title.to_owned(), checks }
}
