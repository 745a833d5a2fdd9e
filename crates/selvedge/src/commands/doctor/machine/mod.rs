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

/// What is known of an engine at the address of this configuration's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Answers,
    /// It does not answer as one.
    Silent,
    /// Another one was asked.
    NotAsked,
}

/// Everything that can be told without an engine.
pub(super) fn look(config: &Config, engine: Known, clock: &SystemClock) -> Vec<Group> {
    let (ports, engine) = ports::look(config, engine);
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
