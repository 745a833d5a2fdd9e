//! Tables of what is known and found: edges, routes, baselines, findings, incidents, quarantines, audit, fates.

use super::table;

table!(EDGES, "edges", "One row per learned edge: a caller and a callee.", {
    edge_id: Integer, "The edge as a number: the same for the same six names, everywhere and always. Fast to group by.";
    source_cluster: Text, "Cluster of the caller.";
    source_namespace: Text, "Namespace of the caller.";
    source_workload: Text, "Workload of the caller; NULL when nobody could be identified.";
    source_principal: Text, "Most usual verified identity of the caller (a SPIFFE id, or Linkerd's DNS form).";
    destination_cluster: Text, "Cluster of the callee.";
    destination_namespace: Text, "Namespace of the callee.";
    destination_workload: Text, "Workload of the callee, or the host name of a destination outside the mesh.";
    destination_principal: Text, "Most usual verified identity of the callee.";
    external: Flag, "The callee is outside the mesh.";
    calls: Integer, "Calls learned.";
    errors: Integer, "Calls that the callee failed.";
    windows: Integer, "Windows with calls.";
    routes: Integer, "Distinct routes.";
    latency_p50_ms: Number, "Median latency in milliseconds.";
    latency_p99_ms: Number, "99th percentile of latency in milliseconds.";
    both_sides: Integer, "Requests that both sides reported.";
    client_only: Integer, "Requests that only the caller's side reported.";
    server_only: Integer, "Requests that only the callee's side reported.";
    join_completeness: Number, "Share of requests that both sides reported, 0 to 1.";
    provenance: Text, "How the baseline came to be: learned or approved.";
    first_seen: Time, "Start of the first call learned.";
    last_seen: Time, "End of the last call learned.";
    known_by: Text, "Who tells of it: calls, or metrics where no record of a call does.";
});

table!(ROUTES, "routes", "One row per learned route of an edge.", {
    edge_id: Integer, "The edge as a number: the same for the same six names, everywhere and always. Fast to group by.";
    source_cluster: Text, "Cluster of the caller.";
    source_namespace: Text, "Namespace of the caller.";
    source_workload: Text, "Workload of the caller; NULL when nobody could be identified.";
    destination_cluster: Text, "Cluster of the callee.";
    destination_namespace: Text, "Namespace of the callee.";
    destination_workload: Text, "Workload of the callee, or the host name of a destination outside the mesh.";
    method: Text, "HTTP method, or the RPC system's word for it.";
    route: Text, "Templated path (/orders/{id}) or RPC method.";
    calls: Integer, "Calls learned.";
    refused: Integer, "Calls that were refused (4xx).";
    plaintext: Integer, "Calls without TLS.";
    mutual_tls: Integer, "Calls over mutual TLS.";
    latency_p50_ms: Number, "Median latency in milliseconds.";
    latency_p99_ms: Number, "99th percentile of latency in milliseconds.";
});

table!(BASELINES, "baselines", "What each edge is known to do: the state that new windows are judged against.", {
    edge_id: Integer, "The edge as a number: the same for the same six names, everywhere and always. Fast to group by.";
    source_cluster: Text, "Cluster of the caller.";
    source_namespace: Text, "Namespace of the caller.";
    source_workload: Text, "Workload of the caller; NULL when nobody could be identified.";
    destination_cluster: Text, "Cluster of the callee.";
    destination_namespace: Text, "Namespace of the callee.";
    destination_workload: Text, "Workload of the callee, or the host name of a destination outside the mesh.";
    provenance: Text, "How it came to be: learned or approved.";
    calls: Integer, "Calls learned.";
    windows: Integer, "Windows with calls.";
    requests_mean: Number, "Mean requests per window with calls.";
    requests_stddev: Number, "Standard deviation of requests per window.";
    error_share: Number, "Share of calls that the callee failed, 0 to 1.";
    latency_p50_ms: Number, "Median latency in milliseconds.";
    latency_p90_ms: Number, "90th percentile of latency in milliseconds.";
    latency_p99_ms: Number, "99th percentile of latency in milliseconds.";
    request_bytes_max: Integer, "Largest request body.";
    response_bytes_max: Integer, "Largest response body.";
    plaintext: Integer, "Calls without TLS.";
    tls: Integer, "Calls over TLS without a client certificate.";
    mutual_tls: Integer, "Calls over mutual TLS.";
    tls_versions: TextList, "TLS versions seen.";
    source_principals: TextList, "Verified identities of the caller.";
    destination_principals: TextList, "Verified identities of the callee.";
    issuers: TextList, "Issuers of the caller's certificates.";
    user_agents: TextList, "User agent families.";
    certificate_lifetime_days_max: Number, "Longest certificate lifetime seen, in days.";
    certificate_not_after_max: Time, "Newest end of validity of a certificate.";
    first_seen: Time, "Start of the first call learned.";
    last_seen: Time, "End of the last call learned.";
    known_by: Text, "Who tells of it: calls, or metrics where no record of a call does.";
    normal_days: Integer, "Whole days of its normal, 255 at most: from 14 on it is judged by the record of the mesh.";
    requests_per_second: Number, "Requests a second, in its last six windows.";
    requests_per_second_usual: Number, "What is usual at this time, season and level included.";
    request_kib_per_second: Number, "KiB of request bodies a second, in its last six windows.";
    request_kib_per_second_usual: Number, "What is usual at this time, season and level included.";
    error_share_now: Number, "Share of requests that the callee failed, in its last six windows, 0 to 1.";
    error_share_usual: Number, "What is usual at this time.";
    latency_normal_p50_ms: Number, "Median latency when it was last taken for normal: latency is judged by how many are slower.";
    latency_normal_p99_ms: Number, "99th percentile of the same.";
    slower_than_p99_now: Number, "Share of requests slower than that percentile, in its last six windows, 0 to 1.";
    slower_than_p99_usual: Number, "What is usual at this time.";
    suspected: TextList, "What of it is not learned now, because it deviates: volume, bytes, latency, errors.";
    drift: Number, "How many times its trusted level the most drifted of its measures is; below 1 for less.";
});

table!(FINDINGS, "findings", "One row per recent finding: one deviation of one edge or identity.", {
    detected_time: Time, "When we knew, in event time.";
    onset_time: Time, "First call that deviates.";
    id: Text, "Content hash: the same deviation always has the same id.";
    kind: Text, "What deviated, as new_edge.";
    severity: Text, "How bad: info, low, medium, high or critical.";
    summary: Text, "One sentence for a person.";
    subject: Text, "What exactly: a route, a fingerprint, a claimed identity.";
    source_cluster: Text, "Cluster of the caller.";
    source_namespace: Text, "Namespace of the caller.";
    source_workload: Text, "Workload of the caller; NULL when nobody could be identified.";
    source_principal: Text, "Verified identity of the caller (a SPIFFE id, or Linkerd's DNS form).";
    source_identity: Text, "What the caller's name rests on; below proxy_metadata it must not lead to a quarantine.";
    destination_cluster: Text, "Cluster of the callee.";
    destination_namespace: Text, "Namespace of the callee.";
    destination_workload: Text, "Workload of the callee, or the host name of a destination outside the mesh.";
    destination_principal: Text, "Verified identity of the callee.";
    external: Flag, "The callee is outside the mesh.";
    claimed_principal: Text, "An identity claimed without proof. Never to be blamed.";
    return_period_seconds: Number, "How often a finding this extreme is expected when nothing is wrong; NULL for deterministic checks.";
    evidence: TextList, "What was observed against what was known: name=observed (baseline).";
    exemplar_trace_ids: TextList, "Traces to look at.";
    techniques: TextList, "ATT&CK technique ids.";
    incident_id: Text, "The incident it belongs to.";
});

table!(INCIDENTS, "incidents", "One row per incident: findings that belong together, the thing a person is woken for.", {
    opened_time: Time, "When the first alert would have left, in event time.";
    onset_time: Time, "Earliest onset of its findings.";
    updated_time: Time, "Last new evidence.";
    closed_time: Time, "When it was resolved; NULL while it is open.";
    id: Text, "Stable over restarts; the deduplication key of every alert.";
    status: Text, "open or resolved.";
    severity: Text, "How bad: info, low, medium, high or critical.";
    title: Text, "A sentence that a tired person understands.";
    kinds: TextList, "Kinds of its findings, most telling first.";
    edges: TextList, "Edges involved, as source -> destination.";
    suspects: TextList, "Possible causes, most likely first, as namespace/workload.";
    return_period_seconds: Number, "Longest return period of its findings.";
    finding_ids: TextList, "Its findings, in order of detection.";
    exemplar_trace_ids: TextList, "Traces to look at.";
    techniques: TextList, "ATT&CK technique ids.";
    calibration: Text, "How thresholds were chosen.";
});

table!(QUARANTINES, "quarantines", "One row per quarantine: a leased deny.", {
    created_time: Time, "When it was decided, by the engine's clock.";
    expires_time: Time, "End of the lease; NULL while nothing is leased.";
    id: Text, "Its id, which is also the name of the policy that is pushed.";
    mode: Text, "proposed, shadow, enforced, lifted or expired.";
    progress: Text, "planned, pushed, acknowledged, effective or ineffective.";
    incident_id: Text, "The incident it answers.";
    cuts: TextList, "What is denied: the side, the workload that enforces it, who is refused, and what.";
    evidence: TextList, "Ids of the findings it rests on.";
    not_stopped: TextList, "What it does not stop.";
    backtest_calls: Integer, "Recent calls that it was tried on.";
    backtest_denied: Integer, "Of those, calls that it would have denied.";
    backtest_denied_normal: Integer, "Of those, normal calls before the onset: the harm.";
    renewals: Integer, "How often the lease was renewed.";
    owner: Text, "Who decided: engine, or a person.";
    reason: Text, "Who is cut from what, and why.";
    ended: Text, "Why it ended; NULL until then.";
});

table!(AUDIT, "audit", "One row per record of the audit log.", {
    time: Time, "When it happened.";
    sequence: Integer, "Position in the chain.";
    actor: Text, "Who did it.";
    action: Text, "What was done.";
    subject: Text, "What it is about: a quarantine, an incident, a policy.";
    detail: Text, "With what outcome.";
    hash: Text, "Hash of this record and the one before.";
});

table!(FATES, "fates", "What became of every signal received: one row per signal and fate.", {
    signal: Text, "traces, metrics or logs.";
    fate: Text, "joined, unmatched, rejected, late, evicted or open.";
    signals: Integer, "How many.";
});
