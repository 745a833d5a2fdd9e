//! The PostgreSQL wire, with a driver.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::net::SocketAddr;

use selvedge_query::SqlConfig;
use selvedge_query::pg::{PgConfig, PgUser, serve};
use tokio::net::TcpListener;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// A server on a free port; it ends with the test.
async fn server(sql: SqlConfig, config: PgConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve(listener, support::service(sql), config, std::future::pending());
    tokio::runtime::Handle::current().spawn(async move { serving.await.unwrap() });
    address
}

async fn connect(address: SocketAddr, password: &str) -> Result<Client, tokio_postgres::Error> {
    Ok(connect_loosely(address, password).await?.0)
}

/// With the task that holds the socket: a driver keeps it open until the answer is there.
async fn connect_loosely(
    address: SocketAddr,
    password: &str,
) -> Result<(Client, tokio::task::JoinHandle<()>), tokio_postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(address.port()).user("reader").password(password).dbname("selvedge");
    let (client, connection) = config.connect(NoTls).await?;
    let socket = tokio::runtime::Handle::current().spawn(async move { drop(connection.await) });
    Ok((client, socket))
}

async fn open(sql: SqlConfig) -> Client {
    connect(server(sql, PgConfig::default()).await, "").await.unwrap()
}

/// All cells of a simple query, row by row.
async fn simple(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.err().unwrap_or_else(|| panic!("{sql} was not refused"));
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn text_queries_answer_and_parameters_bind() {
    let client = open(SqlConfig::default()).await;
    let rows =
        simple(&client, "SELECT source_workload, count(*), max(end_time) FROM calls GROUP BY 1 ORDER BY 1")
            .await;
    assert_eq!(rows[1][..2], ["web", "1000"]);
    let rows = simple(&client, "SELECT version(), current_database()").await;
    assert!(rows[0][0].starts_with("PostgreSQL 16"), "{rows:?}");
    let rows = client
        .query("SELECT route, percentile(duration_ms, 0.5) AS p50 FROM calls WHERE status = $1 AND destination_workload = $2 GROUP BY route", &[&503_i32, &"cart"])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<_, &str>("route"), "/cart/{id}");
    assert!(rows[0].get::<_, f64>("p50") > 0.0);
    let rows = client.query("SELECT kinds, techniques FROM incidents", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, Vec<String>>("kinds"), ["mtls_downgrade"]);
}

#[tokio::test]
async fn what_psql_asks_for_d_is_answered() {
    let client = open(SqlConfig::default()).await;
    let tables = "SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2";
    let tables = simple(&client, tables).await;
    assert!(tables.iter().any(|row| row[1] == "calls"), "{tables:?}");
    let oid = simple(&client, "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(calls)$' COLLATE pg_catalog.default").await;
    let columns = format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a WHERE a.attrelid = '{}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        oid[0][0]
    );
    let columns = simple(&client, &columns).await;
    assert_eq!(columns[0][0], "start_time", "{columns:?}");
    assert!(columns.len() > 40);
}

#[tokio::test]
async fn only_reading_and_only_harmless_settings() {
    let client = open(SqlConfig::default()).await;
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO calls SELECT * FROM calls",
        "DROP TABLE calls",
        "DELETE FROM calls",
        "COPY calls TO '/tmp/calls.csv'",
        "COPY (SELECT 1) TO STDOUT",
        "SET datafusion.execution.batch_size = 1",
        "SELECT 1; DROP TABLE calls",
        "DECLARE c CURSOR FOR SELECT * FROM calls",
        "DO 'x'",
    ] {
        let (code, message) = refused(&client, sql).await;
        assert!(["25006", "42601"].contains(&code.as_str()), "{sql}: {code} {message}");
        assert!(client.prepare(sql).await.is_err(), "{sql}");
    }
    for sql in [
        "SET application_name = 'x'",
        "SET client_encoding TO 'UTF8'",
        "BEGIN",
        "COMMIT",
        "DISCARD ALL",
        "SET TIME ZONE 'UTC'",
        "SHOW statement_timeout",
        "",
    ] {
        simple(&client, sql).await;
    }
    assert_eq!(refused(&client, "SELECT * FROM '/etc/passwd'").await.0, "42000");
    let error = client.simple_query("SELECT staus FROM calls").await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().hint(), Some("did you mean status?"));
}

#[tokio::test]
async fn an_error_tells_its_place_in_the_text_by_both_protocols() {
    let client = open(SqlConfig::default()).await;
    for (sql, place) in [
        ("SELECT staus FROM calls", Some(8)),
        ("SELECT count(*)\nFROM calls c WHERE c.staus = 1", Some(36)),
        ("SELECT * FROM cals", Some(15)),
        ("SELECT FROM WHERE", Some(13)),
        ("SELECT status FROM calls ORDER BY nope", Some(35)),
        ("SELECT sum(route) FROM calls", Some(8)),
    ] {
        let simple = client.simple_query(sql).await.unwrap_err();
        let prepared = client.prepare(sql).await.unwrap_err();
        for error in [simple, prepared] {
            let at = error.as_db_error().unwrap().position().map(|position| match position {
                ErrorPosition::Original(at) => *at,
                ErrorPosition::Internal { position, .. } => *position,
            });
            assert_eq!(at, place, "{sql}: {error:?}");
        }
    }
}

/// Guarantees: a cancel request stops a query whose rows are still computed, by both protocols, and the connection
/// goes on.
#[tokio::test]
async fn a_query_ends_when_its_client_cancels_it() {
    let client = std::sync::Arc::new(open(SqlConfig { running_max: 1, ..SqlConfig::default() }).await);
    let endless = "SELECT count(*) FROM calls a, calls b, calls c WHERE a.duration + b.duration < c.duration";
    for extended in [false, true] {
        let (asking, token) = (std::sync::Arc::clone(&client), client.cancel_token());
        let asked = tokio::runtime::Handle::current().spawn(async move {
            match extended {
                true => asking.query(endless, &[]).await.map(|rows| rows.len()),
                false => asking.simple_query(endless).await.map(|rows| rows.len()),
            }
        });
        // A request that comes before the query has begun is lost, as in PostgreSQL.
        while !asked.is_finished() {
            token.cancel_query(NoTls).await.unwrap();
            tokio::task::yield_now().await;
        }
        let error = asked.await.unwrap().unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "57014", "{error:?}");
        // Not by its time limit, which has the same code.
        assert!(error.message().contains("user request"), "{error:?}");
        assert_eq!(simple(&client, "SELECT 1").await, [["1"]]);
    }
}

#[tokio::test]
async fn limits_apply() {
    let client = open(SqlConfig { rows_max: 100, ..SqlConfig::default() }).await;
    assert_eq!(refused(&client, "SELECT * FROM calls").await.0, "54000");
    simple(&client, "SET statement_timeout = '50ms'").await;
    let endless = "SELECT count(*) FROM calls a, calls b, calls c WHERE a.duration + b.duration < c.duration";
    assert_eq!(refused(&client, endless).await.0, "57014");
}

#[tokio::test]
async fn a_password_is_asked_for_when_there_is_one() {
    let user = PgUser { name: "reader".into(), password: "correct horse".into() };
    let address = server(SqlConfig::default(), PgConfig { user: Some(user), ..PgConfig::default() }).await;
    let client = connect(address, "correct horse").await.unwrap();
    assert_eq!(simple(&client, "SELECT 1").await, [["1"]]);
    assert!(connect(address, "wrong").await.is_err());
}

#[tokio::test]
async fn a_query_ends_when_its_client_goes() {
    let address =
        server(SqlConfig { running_max: 1, waiting_max: 0, ..SqlConfig::default() }, PgConfig::default())
            .await;
    let (client, socket) = connect_loosely(address, "").await.unwrap();
    let other = connect(address, "").await.unwrap();
    let endless = "SELECT count(*) FROM calls a, calls b, calls c WHERE a.duration + b.duration < c.duration";
    // Again and again: the other's question may have the only place when it comes first.
    let asked = tokio::runtime::Handle::current().spawn(async move {
        loop {
            drop(client.simple_query(endless).await);
        }
    });
    // It has its place when the other finds none.
    while other.simple_query("SELECT 1").await.is_ok() {
        tokio::task::yield_now().await;
    }
    asked.abort();
    socket.abort();
    while other.simple_query("SELECT 1").await.is_err() {
        tokio::task::yield_now().await;
    }
}
