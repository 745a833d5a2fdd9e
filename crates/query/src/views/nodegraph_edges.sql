WITH recent AS (
  SELECT * FROM calls WHERE end_time >= {since}
), spread AS (
  SELECT greatest(extract(epoch FROM max(end_time) - min(end_time)), 1.0) AS seconds FROM recent
), edges AS (
  SELECT edge_id, count(*) AS calls, count(*) FILTER (WHERE error) AS errors,
         count(*) FILTER (WHERE security = 'plaintext') AS plaintext, percentile(duration_ms, 0.99) AS p99,
         min(coalesce(source_cluster, '') || '/' || coalesce(source_namespace, '') || '/' || coalesce(source_workload, 'unknown')) AS source,
         min(coalesce(destination_cluster, '') || '/' || coalesce(destination_namespace, '') || '/' || coalesce(destination_workload, 'unknown')) AS target
  FROM recent GROUP BY edge_id
)
SELECT CAST(edge_id AS VARCHAR) AS id, source, target, calls / seconds AS mainstat, p99 AS secondarystat,
       least(1.0 + log10(CAST(calls AS DOUBLE)), 6.0) AS thickness,
       CASE WHEN errors > 0 THEN 'red' WHEN plaintext > 0 THEN 'orange' ELSE 'green' END AS color,
       calls AS detail__calls, errors AS detail__errors, plaintext AS detail__plaintext
FROM edges CROSS JOIN spread
