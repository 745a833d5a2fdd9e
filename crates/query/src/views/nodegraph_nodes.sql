WITH recent AS (
  SELECT * FROM calls WHERE end_time >= {since}
), spread AS (
  SELECT greatest(extract(epoch FROM max(end_time) - min(end_time)), 1.0) AS seconds FROM recent
), ends AS (
  SELECT coalesce(destination_cluster, '') || '/' || coalesce(destination_namespace, '') || '/' || coalesce(destination_workload, 'unknown') AS id,
         coalesce(destination_workload, 'unknown') AS title, coalesce(destination_namespace, '') AS subtitle,
         external, 1 AS received, error, security = 'plaintext' AS plaintext, duration_ms
  FROM recent
  UNION ALL
  SELECT DISTINCT coalesce(source_cluster, '') || '/' || coalesce(source_namespace, '') || '/' || coalesce(source_workload, 'unknown'),
         coalesce(source_workload, 'unknown'), coalesce(source_namespace, ''), false, 0, false, false, CAST(NULL AS DOUBLE)
  FROM recent
), nodes AS (
  SELECT id, min(title) AS title, min(subtitle) AS subtitle, bool_or(external) AS external, sum(received) AS calls,
         count(*) FILTER (WHERE error) AS failed,
         count(*) FILTER (WHERE plaintext AND NOT error) AS plaintext,
         percentile(duration_ms, 0.99) AS p99
  FROM ends GROUP BY id
)
SELECT id, title, subtitle, calls / seconds AS mainstat, p99 AS secondarystat,
       coalesce(CAST(failed AS DOUBLE) / nullif(calls, 0), 0.0) AS arc__failed,
       coalesce(CAST(plaintext AS DOUBLE) / nullif(calls, 0), 0.0) AS arc__plaintext,
       1.0 - coalesce(CAST(failed + plaintext AS DOUBLE) / nullif(calls, 0), 0.0) AS arc__ok,
       calls AS detail__calls, external AS detail__external
FROM nodes CROSS JOIN spread
