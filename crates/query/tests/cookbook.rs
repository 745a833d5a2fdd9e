//! Every query of `docs/cookbook.md` runs, and answers as the files in `tests/cookbook/` say.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::{Path, PathBuf};

use datafusion::arrow::util::pretty::pretty_format_batches;
use selvedge_model::{Call, ObservationKind, Reported, Security, Symbol};
use selvedge_query::{QueryOptions, SqlConfig, SqlService};
use support::Mesh;

/// Heading and SQL of every recipe.
fn recipes() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cookbook.md");
    let text = std::fs::read_to_string(path).unwrap();
    let recipe = |section: &str| {
        let (heading, rest) = section.split_once('\n').unwrap();
        let (_, rest) = rest.split_once("```sql\n").unwrap();
        let (sql, _) = rest.split_once("```").unwrap();
        (heading.to_owned(), sql.to_owned())
    };
    text.split("\n## ").skip(1).map(recipe).collect()
}

/// `12. Who calls ...` is in `12.txt`.
fn golden(heading: &str) -> PathBuf {
    let (number, _) = heading.split_once('.').unwrap();
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cookbook/{:0>2}.txt", number))
}

/// What the mesh of the other tests does not do: attacks, mistakes and blind spots.
fn odd_calls(mesh: &mut Mesh) -> Vec<Call> {
    let [admin, policy, forged, tls] =
        ["/admin/export", "deny-cart", "spiffe://other.example/ns/shop/sa/web", "TLSv1.2"]
            .map(|text| mesh.symbols.intern(text));
    let unknown_issuer = mesh.symbols.intern("unknown_issuer");
    let mut calls = Vec::new();
    for number in 0..12 {
        // Of `web -> cart`, after half an hour.
        let mut call = mesh.call(1_803 + number * 3);
        (call.edge.destination, call.shape.route) = (mesh.call(1).edge.destination, admin);
        match number % 4 {
            0 => (call.shape.status, call.shape.denied_by) = (403, policy),
            1 => {
                (call.shape.handshake_failure, call.shape.claimed_principal) = (unknown_issuer, forged);
                (call.shape.source_principal, call.shape.status) = (Symbol::NONE, 0);
            }
            2 => (call.shape.reported, call.shape.security) = (Reported::ServerOnly, Security::Tls),
            _ => call.shape.tls_version = tls,
        }
        calls.push(call);
    }
    calls
}

fn service() -> SqlService {
    let mut mesh = support::mesh();
    let odd = odd_calls(&mut mesh);
    odd.iter().for_each(|call| mesh.store.append_call(call));
    for number in [1, 2, 3, 200, 201, 500] {
        let log = mesh.observation(ObservationKind::AccessLog, number);
        mesh.store.append_observation(&log);
    }
    let calls: Vec<Call> = (0..3_000).map(|number| mesh.call(number)).chain(odd).collect();
    let watched = support::watched(support::learned(&mesh.symbols, &calls));
    mesh.store.watch(std::sync::Arc::new(watched));
    SqlService::new(mesh.store.snapshot(&mesh.symbols), SqlConfig::default()).unwrap()
}

#[tokio::test]
async fn every_recipe_of_the_cookbook_answers_as_written() {
    let (recipes, service) = (recipes(), service());
    assert_eq!(recipes.len(), 20);
    let mut wrong = Vec::new();
    for (heading, sql) in recipes {
        let result = service.query(&sql, QueryOptions::default()).await;
        let batches = match result {
            Ok(result) => result.collect().await,
            Err(error) => Err(error),
        };
        let batches = batches.unwrap_or_else(|error| panic!("{heading}: {error} at {:?}", error.position()));
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert!(rows > 0, "{heading}: a recipe without an answer shows nothing");
        let answer = format!("{heading}\n{}\n", pretty_format_batches(&batches).unwrap());
        let path = golden(&heading);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &answer).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != answer {
            wrong.push(answer);
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 writes:\n{}", wrong.join("\n"));
}
