//! Who speaks of what: signals, both sides of a call, and what lets their records find each other.

use selvedge_act::reporter_document::{CarriedDocument, ReporterDocument, SidesDocument};

use super::super::check::{Check, share as percent};
use super::super::snippets::{Topic, mending};
use super::{Band, Concerned, Scene, Survey, band, has_name, inbound, outbound, too_few};

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
    let survey = scene.survey(|one| {
        let (logs, others) = (one.access_logs.records(), one.spans.records() + one.metric_points);
        let all = logs + others;
        has_name(one).then_some((if logs > 0 { all } else { 0 }, all, Topic::AccessLogs))
    });
    let Some(lacking) = survey.missing() else {
        return survey.ok(SUBJECT, "from every workload that sends spans or metrics");
    };
    let check = Check::warn(SUBJECT, format!("none from {}", lacking.whom()))
        .advise(
            "send them: they are complete, while spans are sampled and a client may choose what is traced",
        )
        .blind_to(&["handshake_rejected", "telemetry_gap", "one_sided_call"]);
    scene.mend(check, lacking)
}

/// Calls of a workload that it made and answered, how many of them the other end alone knows, and whether it speaks of such.
fn other_end_alone(one: &ReporterDocument) -> [(u64, SidesDocument, bool); 2] {
    let (made, answered) = (one.calls_made, one.calls_answered);
    let (speaks_out, speaks_in) = (outbound(one).0.records > 0, inbound(one).0.records > 0);
    [(made.server_only, made, speaks_out), (answered.client_only, answered, speaks_in)]
}

/// Workloads whose records of one side are missing altogether.
fn both_sides(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "both sides";
    let survey = |side: usize| {
        scene.survey(|one| {
            let (alone, sides, speaks) = other_end_alone(one)[side];
            let topic = match one.heard_unix_nano {
                None => Topic::AccessLogs,
                Some(_) => [Topic::Outbound, Topic::Inbound][side],
            };
            // Whoever speaks of some is not silent: `meeting` is about the rest.
            let alone = if speaks { 0 } else { alone };
            has_name(one).then_some((sides.total() - alone, sides.total(), topic))
        })
    };
    let surveys = [survey(0), survey(1)];
    let (out, into) = (surveys[0].missing(), surveys[1].missing());
    let Some(first) = out.or(into) else {
        let known = surveys.iter().any(Survey::known);
        let ok = "callers and callees both speak of their calls";
        return if known { Check::ok(SUBJECT, ok) } else { too_few(SUBJECT) };
    };
    let part = |concerned: Option<&Concerned>, what: &str, whose: &str| {
        let concerned = concerned?;
        let alone = concerned.of - concerned.part;
        let whom = concerned.whom();
        Some(format!("nothing of calls {what} by {whom}: {alone} known by their {whose} alone"))
    };
    let parts = [part(out, "made", "callees"), part(into, "answered", "callers")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let check = Check::warn(SUBJECT, text)
        .advise(
            "have their proxies send this side as well; where they do, the calls went past the proxy, \
             and findings of `one_sided_call` name them",
        )
        .blind_to(&["one_sided_call", "identity_mismatch", "telemetry_gap"]);
    let mut check = scene.mend(check, first);
    for snippet in
        into.into_iter().flat_map(|concerned| mending(concerned.topic.unwrap_or(Topic::Inbound), scene.mesh))
    {
        if !check.snippets.contains(&snippet) {
            check.snippets.push(snippet);
        }
    }
    check
}

/// Workloads that speak, and of many calls do not.
fn mixed(scene: &Scene<'_>) -> Option<Check> {
    let survey = scene.survey(|one| {
        let all = other_end_alone(one).into_iter().filter(|(.., speaks)| *speaks);
        let (alone, total) =
            all.fold((0, 0), |(alone, of), (one, sides, _)| (alone + one, of + sides.total()));
        Some((total - alone, total, Topic::OnTheWay))
    });
    let mixed = survey.lacking()?;
    let text = format!(
        "{}: {} of the calls are known by the other end alone, though both report",
        mixed.whom(),
        percent(mixed.of - mixed.part, mixed.of)
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
    let survey = |ids: fn(&CarriedDocument) -> u64| {
        scene.survey(|one| {
            let (client, server) = (&one.access_logs.client, &one.access_logs.server);
            let topic = if server.records > 0 { Topic::Inbound } else { Topic::Outbound };
            Some((ids(client) + ids(server), client.records + server.records, topic))
        })
    };
    let advice = "send `%REQ(X-REQUEST-ID)%` with every access-log record";
    if let Some(none) = survey(|carried| carried.request_id.max(carried.trace_id)).missing() {
        let text =
            format!("neither these nor trace ids on access logs of {}: nothing joins them", none.whom());
        let check = Check::fail(SUBJECT, text).advise(advice);
        return scene.mend(check.blind_to(&["one_sided_call", "new_edge", "identity_mismatch"]), none);
    }
    let survey = survey(|carried| carried.request_id);
    let Some(lacking) = survey.lacking() else {
        return survey.ok(SUBJECT, "access logs carry what joins both ends of a call");
    };
    let there = match band(lacking.part, lacking.of) {
        Some(Band::Missing) => "none".to_owned(),
        _ => format!("only {}", percent(lacking.part, lacking.of)),
    };
    let text = format!("{there} on access logs of {}: else only what is traced joins", lacking.whom());
    scene.mend(Check::warn(SUBJECT, text).advise(advice).blind_to(&["one_sided_call"]), &lacking)
}

/// Records against what is counted of the same.
fn counted_band(told: u64, counted: u64) -> Option<Band> {
    let few = (told as f64) < COUNTED_FROM * counted as f64;
    (counted >= COUNTED_MIN).then_some(if few { Band::Missing } else { Band::There })
}

/// Spans against access logs, else against counters.
fn sampling(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "sampling";
    let survey = scene.survey_by(counted_band, |one| {
        let spans = one.spans.client.records;
        let alone = one.access_logs.records() == 0 && spans > 0;
        alone.then_some((spans, one.requests_counted, Topic::Spans))
    });
    if let Some(alone) = survey.missing() {
        let text = format!(
            "{} send spans alone, of {} of the requests that they count",
            alone.whom(),
            percent(alone.part, alone.of)
        );
        let check = Check::warn(SUBJECT, text)
            .advise("trace every request, or send access logs, which are complete whatever is traced")
            .blind_to(&["one_sided_call", "request_rate_high", "request_rate_low", "denied_burst"]);
        return scene.mend(check, alone);
    }
    let logged = scene.reporters.iter().filter(|one| one.access_logs.records() > 0);
    let (spans, logs) = logged
        .fold((0, 0), |(spans, logs), one| (spans + one.spans.records(), logs + one.access_logs.records()));
    match band(spans.min(logs), logs) {
        None if survey.known() => Check::ok(SUBJECT, "none: spans of every request that is counted"),
        None => too_few(SUBJECT),
        Some(_) if spans == 0 => Check::ok(SUBJECT, "no spans beside access logs; these are complete"),
        Some(Band::There) => Check::ok(SUBJECT, "none: spans of every call that is logged"),
        Some(Band::Missing | Band::Partly) => {
            let text =
                format!("spans of {} of what is logged; access logs are complete", percent(spans, logs));
            Check::ok(SUBJECT, text)
        }
    }
}

/// Counters against records: who counts more than it tells is being silenced, or loses on the way.
fn counters(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "counters";
    let survey = scene.survey_by(counted_band, |one| {
        let told = one.access_logs.client.records;
        (told > 0).then_some((told, one.requests_counted, Topic::OnTheWay))
    });
    if let Some(silenced) = survey.missing() {
        let told = percent(silenced.part, silenced.of);
        let text = format!("{} tell of {told} of the requests that they count", silenced.whom());
        let check = Check::warn(SUBJECT, text)
            .advise("look for what drops records: `logs_dropped` of Envoy, a Collector that filters, a full queue")
            .blind_to(&["telemetry_suppressed"]);
        return scene.mend(check, silenced);
    }
    if survey.known() {
        return Check::ok(SUBJECT, "metrics arrive, and count no more than is told");
    }
    if scene.reporters.iter().any(|one| one.metric_points > 0) {
        return Check::unknown(
            SUBJECT,
            "metrics arrive, and count too few requests to compare with what is told",
        )
        .advise("send the proxies' counters of requests; or ask again after more traffic");
    }
    Check::warn(SUBJECT, "nobody sends metrics: that records are held back cannot be noticed by counting")
        .advise("send the proxies' metrics as well")
        .blind_to(&["telemetry_suppressed"])
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
