//! Who speaks of what: signals, both sides of a call, and what lets their records find each other.

use selvedge_act::reporter_document::{ReporterDocument, SidesDocument};

use super::super::check::{Check, share as percent};
use super::super::snippets::{Topic, mending};
use super::{ALL_FROM, Concerned, NONE_BELOW, RECORDS_MIN, Scene, has_name, inbound, outbound, share};

/// Counters may be ahead of records by this share: they are sent at other times.
const COUNTED_FROM: f64 = 0.8;
/// Requests counted from which on counters and records are worth comparing.
const COUNTED_MIN: u64 = 200;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = vec![access_logs(scene), both_sides(scene), ids(scene)];
    checks.extend(mixed(scene));
    checks.extend([sampling(scene), counters(scene), connections(scene)]);
    checks
}

fn access_logs(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "access logs";
    let none = |one: &ReporterDocument| {
        let speaks = one.spans.records() + one.metric_points >= RECORDS_MIN;
        has_name(one) && speaks && one.access_logs.records() == 0
    };
    let Some(lacking) = scene.those(Topic::AccessLogs, none) else {
        return Check::ok(SUBJECT, "from every workload that sends spans or metrics");
    };
    let check = Check::warn(SUBJECT, format!("none from {}", lacking.whom()))
        .advise(
            "send them: they are complete, while spans are sampled and a client may choose what is traced",
        )
        .blind_to(&["handshake_rejected", "telemetry_gap", "one_sided_call"]);
    scene.mend(check, &lacking)
}

/// Whether calls of a workload are known by the other end alone, and how many of how many.
fn other_end_alone(one: &ReporterDocument) -> [(u64, SidesDocument, bool); 2] {
    let (made, answered) = (one.calls_made, one.calls_answered);
    let (speaks_out, speaks_in) = (outbound(one).0.records > 0, inbound(one).0.records > 0);
    [(made.server_only, made, speaks_out), (answered.client_only, answered, speaks_in)]
}

/// Workloads whose records of one side are missing altogether.
fn both_sides(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "both sides";
    let missing = |side: usize| {
        scene.concerned(|one| {
            let (alone, sides, speaks) = other_end_alone(one)[side];
            let topic = if one.heard_unix_nano.is_none() {
                Topic::AccessLogs
            } else {
                [Topic::Outbound, Topic::Inbound][side]
            };
            let share = share(alone, sides.total())?;
            (share >= ALL_FROM && !speaks && has_name(one)).then_some((alone, sides.total(), topic))
        })
    };
    let (out, into) = (missing(0), missing(1));
    let Some(first) = out.as_ref().or(into.as_ref()) else {
        return Check::ok(SUBJECT, "callers and callees both speak of their calls");
    };
    let part = |concerned: &Option<Concerned>, what: &str, whose: &str| {
        let concerned = concerned.as_ref()?;
        Some(format!(
            "nothing of calls {what} by {}: {} known by their {whose} alone",
            concerned.whom(),
            concerned.part
        ))
    };
    let parts = [part(&out, "made", "callees"), part(&into, "answered", "callers")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let check = Check::warn(SUBJECT, text)
        .advise(
            "have their proxies send this side as well; where they do, the calls went past the proxy, \
             and findings of `one_sided_call` name them",
        )
        .blind_to(&["one_sided_call", "identity_mismatch", "telemetry_gap"]);
    let mut check = scene.mend(check, first);
    for snippet in
        into.iter().flat_map(|concerned| mending(concerned.topic.unwrap_or(Topic::Inbound), scene.mesh))
    {
        if !check.snippets.contains(&snippet) {
            check.snippets.push(snippet);
        }
    }
    check
}

/// Workloads that speak, and of many calls do not.
fn mixed(scene: &Scene<'_>) -> Option<Check> {
    let mixed = scene.concerned(|one| {
        let all = other_end_alone(one).into_iter().filter(|(.., speaks)| *speaks);
        let (alone, total) =
            all.fold((0, 0), |(alone, of), (one, sides, _)| (alone + one, of + sides.total()));
        (share(alone, total)? >= NONE_BELOW).then_some((alone, total, Topic::OnTheWay))
    })?;
    let text = format!(
        "{}: {} of the calls are known by the other end alone, though both report",
        mixed.whom(),
        percent(mixed.part, mixed.of)
    );
    let check = Check::warn("meeting", text)
        .advise(
            "something samples or drops on the way, or both ends' records share no id or name no peer: keep \
             `x-request-id` and `traceparent` from hop to hop, send identities, and sample nowhere before Selvedge",
        )
        .blind_to(&["one_sided_call", "new_edge"]);
    Some(scene.mend(check, &mixed))
}

fn ids(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "request ids";
    let lacking = |traced: bool| {
        scene.concerned(|one| {
            let (client, server) = (&one.access_logs.client, &one.access_logs.server);
            let records = client.records + server.records;
            let with_request = client.request_id + server.request_id;
            let with_trace = client.trace_id + server.trace_id;
            let lacks = share(with_request, records)? < NONE_BELOW;
            let is_traced = share(with_trace, records)? >= NONE_BELOW;
            let topic = if server.records > 0 { Topic::Inbound } else { Topic::Outbound };
            (lacks && is_traced == traced).then_some((records, records, topic))
        })
    };
    let advice = "send `%REQ(X-REQUEST-ID)%` with every access-log record";
    if let Some(none) = lacking(false) {
        let text =
            format!("neither these nor trace ids on access logs of {}: nothing joins them", none.whom());
        let check = Check::fail(SUBJECT, text).advise(advice);
        return scene.mend(check.blind_to(&["one_sided_call", "new_edge", "identity_mismatch"]), &none);
    }
    if let Some(some) = lacking(true) {
        let text = format!("none on access logs of {}: only what is traced joins", some.whom());
        let check = Check::warn(SUBJECT, text).advise(advice);
        return scene.mend(check.blind_to(&["one_sided_call"]), &some);
    }
    Check::ok(SUBJECT, "access logs carry what joins both ends of a call")
}

/// Spans against access logs, else against counters.
fn sampling(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "sampling";
    let alone = scene.concerned(|one| {
        let (spans, counted) = (one.spans.client.records, one.requests_counted);
        let sampled = one.access_logs.records() == 0 && spans > 0 && counted >= COUNTED_MIN;
        let few = (spans as f64) < COUNTED_FROM * counted as f64;
        (sampled && few).then_some((spans, counted, Topic::Spans))
    });
    if let Some(alone) = alone {
        let text = format!(
            "{} send spans alone, of {} of the requests that they count",
            alone.whom(),
            percent(alone.part, alone.of)
        );
        let check = Check::warn(SUBJECT, text)
            .advise("trace every request, or send access logs, which are complete whatever is traced")
            .blind_to(&["one_sided_call", "request_rate_high", "request_rate_low", "denied_burst"]);
        return scene.mend(check, &alone);
    }
    let logged = scene.reporters.iter().filter(|one| one.access_logs.records() >= RECORDS_MIN);
    let (spans, logs) = logged
        .fold((0, 0), |(spans, logs), one| (spans + one.spans.records(), logs + one.access_logs.records()));
    match spans {
        0 => Check::ok(SUBJECT, "no spans beside access logs; these are complete"),
        spans if spans as f64 >= ALL_FROM * logs as f64 => {
            Check::ok(SUBJECT, "none: spans of every call that is logged")
        }
        spans => {
            let text =
                format!("spans of {} of what is logged; access logs are complete", percent(spans, logs));
            Check::ok(SUBJECT, text)
        }
    }
}

/// Counters against records: who counts more than it tells is being silenced, or loses on the way.
fn counters(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "counters";
    let silenced = scene.concerned(|one| {
        let (told, counted) = (one.access_logs.client.records, one.requests_counted);
        let few = told > 0 && counted >= COUNTED_MIN && (told as f64) < COUNTED_FROM * counted as f64;
        few.then_some((told, counted, Topic::OnTheWay))
    });
    if let Some(silenced) = silenced {
        let told = percent(silenced.part, silenced.of);
        let text = format!("{} tell of {told} of the requests that they count", silenced.whom());
        let check = Check::warn(SUBJECT, text)
            .advise("look for what drops records: `logs_dropped` of Envoy, a Collector that filters, a full queue")
            .blind_to(&["telemetry_gap"]);
        return scene.mend(check, &silenced);
    }
    if scene.reporters.iter().any(|one| one.metric_points > 0) {
        return Check::ok(SUBJECT, "metrics arrive, and count no more than is told");
    }
    Check::warn(SUBJECT, "nobody sends metrics: that records are held back cannot be noticed by counting")
        .advise("send the proxies' metrics as well")
        .blind_to(&["telemetry_gap"])
        .mended_by(mending(Topic::Metrics, scene.mesh))
}

fn connections(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "connection logs";
    if scene.reporters.iter().any(|one| one.connection_logs > 0) {
        return Check::ok(SUBJECT, "listeners tell of connections, refused ones too");
    }
    Check::unknown(SUBJECT, "none lately: every handshake succeeded, or listeners do not log")
        .advise("give inbound listeners an access log of their own, if they have none")
        .blind_to(&["handshake_rejected"])
        .mended_by(mending(Topic::Connections, scene.mesh))
}
