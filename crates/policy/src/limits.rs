//! What a quarantine does not stop, said before anybody relies on it.

use selvedge_model::{Caller, Cut, Endpoint, EventTime, Place};

use crate::candidates::{Subject, normal_before};
use crate::traffic::TrafficRow;

/// What `cuts` leave open, one sentence each. `rows` are recent traffic of the workloads they are about.
pub(crate) fn not_stopped(
    subject: &Subject,
    callers: &[Endpoint],
    cuts: &[Cut],
    rows: &[TrafficRow],
    onset: EventTime,
) -> Vec<String> {
    let mut open = vec![
        "requests and streams that are under way when it takes effect: they are decided when they begin"
            .to_owned(),
    ];
    for cut in cuts.iter().filter(|cut| cut.place == Place::Inbound) {
        let callee = cut.workload.label();
        if let Caller::Principal(_) = cut.caller {
            if !cut.operations.is_empty() {
                open.push(format!("other requests of the same caller to {callee}, which it normally makes"));
            }
            let bare = |other: &Cut| {
                other.place == Place::Inbound
                    && other.workload == cut.workload
                    && other.caller == Caller::Unauthenticated
            };
            if !cuts.iter().any(bare) {
                open.push(plaintext(&callee, rows, onset));
            }
        } else if !cut.operations.is_empty() {
            open.push(format!("other requests without an identity to {callee}, which some normally make"));
        }
        open.push(format!("calls that reach {callee} without passing its proxy"));
    }
    match subject {
        Subject::Principal(_) => {
            open.push("the same attacker under another identity".to_owned());
            open.push("calls of the same identity to other destinations".to_owned());
            if !cuts.iter().any(|cut| cut.place == Place::Outbound) {
                let who = callers.first().map_or_else(|| "the caller".to_owned(), Endpoint::label);
                open.push(format!("what {who} sends out of the mesh"));
            }
        }
        Subject::Unproven => {
            open.push("the same attacker under an identity that it can prove".to_owned());
            open.push("calls without an identity to other destinations".to_owned());
        }
        Subject::OwnProxy => {}
    }
    for cut in cuts.iter().filter(|cut| cut.place == Place::Outbound) {
        let who = cut.workload.label();
        open.push(format!("connections of {who} that go around its proxy, and its calls to other hosts"));
        open.push(format!("another name or address of {}", cut.hosts.join(", ")));
    }
    open.dedup();
    open
}

fn plaintext(callee: &str, rows: &[TrafficRow], onset: EventTime) -> String {
    let normal = rows.iter().filter(|row| normal_before(row, onset) && row.destination.label() == callee);
    let (bare, silent) = normal.fold((0, 0), |(bare, silent), row| match row.authenticated {
        Some(false) => (bare + row.calls, silent),
        None => (bare, silent + row.calls),
        Some(true) => (bare, silent),
    });
    let why = match (bare, silent) {
        (0, 0) => "there is no traffic to try it on".to_owned(),
        (0, silent) => {
            format!("of {silent} normal calls the record does not say whether they prove an identity")
        }
        (bare, _) => format!("{bare} normal calls prove none"),
    };
    format!(
        "calls to {callee} without an identity, where its port takes them: they are not cut because {why}"
    )
}
