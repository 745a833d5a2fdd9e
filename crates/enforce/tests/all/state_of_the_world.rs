//! ADS, state of the world.

use std::sync::atomic::Ordering;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc;
use prost::Message;
use selvedge_enforce::xds::{XdsConfig, XdsEventKind, XdsStanding};
use selvedge_model::{Caller, Cut, Place};

use super::quarantines::{courier, cut, peace, world};
use super::server::{ECDS, IN, OUT, Server, config, node};

pub(crate) fn subscribe(node: Option<Node>, names: &[&str]) -> DiscoveryRequest {
    let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
    DiscoveryRequest { node, resource_names, type_url: ECDS.to_owned(), ..DiscoveryRequest::default() }
}

pub(crate) fn ack(answer: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: answer.version_info.clone(),
        response_nonce: answer.nonce.clone(),
        ..subscribe(None, names)
    }
}

fn nack(answer: &DiscoveryResponse, names: &[&str], error: &str) -> DiscoveryRequest {
    let status = rpc::Status { code: 13, message: error.to_owned(), ..rpc::Status::default() };
    DiscoveryRequest { version_info: String::new(), error_detail: Some(status), ..ack(answer, names) }
}

/// Names of the resources, each with the number of policies it enforces.
fn enforced(answer: &DiscoveryResponse) -> Vec<(String, usize)> {
    assert_eq!(answer.type_url, ECDS);
    let policies = |any: &envoy_types::pb::google::protobuf::Any| {
        let config = TypedExtensionConfig::decode(any.value.as_slice()).unwrap();
        let rbac = Rbac::decode(config.typed_config.unwrap().value.as_slice()).unwrap();
        (config.name, rbac.rules.map_or(0, |rules| rules.policies.len()))
    };
    answer.resources.iter().map(policies).collect()
}

fn at_ledger(caller: Caller) -> Vec<Cut> {
    vec![cut(Place::Inbound, "ledger", caller)]
}

#[tokio::test]
async fn nothing_is_answered_before_something_is_published() {
    let mut server = Server::start(config()).await;
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN, OUT])).await;
    assert_eq!(server.event().await, XdsEventKind::Connected);
    assert_eq!(server.handle.nodes()[0].wanted, None);
    server.handle.publish(world(at_ledger(courier())));
    let answer = stream.answer().await;
    assert_eq!(answer.nonce, "1", "it is the first answer");
    assert_eq!(enforced(&answer), [(IN.to_owned(), 1), (OUT.to_owned(), 0)]);
    server.stop().await;
}

#[tokio::test]
async fn a_push_is_acknowledged_and_taken_back_by_filters_without_rules() {
    let mut server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN])).await;
    let first = stream.answer().await;
    stream.send(ack(&first, &[IN])).await;
    assert_eq!(server.acked().await, first.version_info);
    for (published, policies) in [(world(at_ledger(courier())), 1), (peace(), 0)] {
        server.handle.publish(published);
        let answer = stream.answer().await;
        assert_eq!(enforced(&answer), [(IN.to_owned(), policies)]);
        assert!(!server.handle.nodes()[0].in_sync());
        stream.send(ack(&answer, &[IN])).await;
        assert_eq!(server.acked().await, answer.version_info);
        let state = &server.handle.nodes()[0];
        assert!(state.in_sync());
        assert_eq!((state.quarantines.len(), state.sent.len()), (policies, policies));
        assert_eq!((state.node.as_str(), state.workload.workload.as_str()), ("ledger-0", "ledger"));
        assert_eq!(
            answer.version_info == first.version_info,
            policies == 0,
            "the same content, the same version"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_proxy_is_not_disturbed_by_what_concerns_others() {
    let mut server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("cart"), &[IN])).await;
    let answer = stream.answer().await;
    stream.send(ack(&answer, &[IN])).await;
    server.acked().await;
    server.handle.publish(world(at_ledger(courier())));
    server.handle.publish(world(vec![cut(Place::Inbound, "cart", courier())]));
    assert_eq!(stream.answer().await.nonce, "2");
    server.stop().await;
}

#[tokio::test]
async fn a_refused_version_is_known_and_not_sent_again_and_the_last_good_one_stands() {
    let mut server = Server::start(config()).await;
    server.handle.publish(world(at_ledger(courier())));
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN])).await;
    let good = stream.answer().await;
    stream.send(ack(&good, &[IN])).await;
    server.acked().await;
    server.handle.publish(world(at_ledger(Caller::Unauthenticated)));
    let bad = stream.answer().await;
    stream.send(nack(&bad, &[IN], &"no ".repeat(1000))).await;
    let rejection = loop {
        match server.event().await {
            XdsEventKind::Nacked(rejection) => break rejection,
            XdsEventKind::Pushed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((rejection.version.as_str(), rejection.error.len()), (bad.version_info.as_str(), 512));
    let state = server.handle.nodes().remove(0);
    assert_eq!((state.acked, state.nacked), (Some(good.version_info.clone()), Some(rejection)));
    // The same content again is no reason to send it again; another one is.
    server.handle.publish(world(at_ledger(Caller::Unauthenticated)));
    server.handle.publish(world(at_ledger(courier())));
    let again = stream.answer().await;
    assert_eq!((again.nonce.as_str(), &again.version_info), ("3", &good.version_info));
    stream.send(ack(&again, &[IN])).await;
    server.acked().await;
    assert_eq!(server.handle.nodes()[0].nacked, None);
    server.stop().await;
}

#[tokio::test]
async fn a_nonce_that_is_not_the_last_says_nothing() {
    let mut server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN])).await;
    let answer = stream.answer().await;
    let stray = DiscoveryResponse { nonce: "77".to_owned(), ..answer.clone() };
    stream.send(nack(&stray, &[IN, OUT], "not about you")).await;
    stream.send(ack(&answer, &[IN])).await;
    assert_eq!(server.acked().await, answer.version_info);
    assert_eq!(server.handle.nodes()[0].names.len(), 1, "nor do its names count");
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_with_what_it_should_have_is_left_alone_also_by_a_new_server() {
    let server = Server::start(config()).await;
    server.handle.publish(world(at_ledger(courier())));
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN, OUT])).await;
    let answer = stream.answer().await;
    server.stop().await;
    assert_eq!(stream.end().await.code(), tonic::Code::Unavailable);

    let mut server = Server::start(config()).await;
    let mut stream = server.state_of_the_world().await;
    let version_info = answer.version_info.clone();
    stream.send(DiscoveryRequest { version_info, ..subscribe(node("ledger"), &[IN, OUT]) }).await;
    assert_eq!(server.event().await, XdsEventKind::Connected);
    server.handle.publish(world(at_ledger(courier())));
    assert_eq!(server.event().await, XdsEventKind::Acked { version: answer.version_info });
    assert!(server.handle.nodes()[0].in_sync());
    server.handle.publish(peace());
    assert_eq!(stream.answer().await.nonce, "1", "nothing was sent before");
    server.stop().await;
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_gets_the_latest_state_and_no_queue() {
    let mut server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN])).await;
    let first = stream.answer().await;
    server.handle.publish(world(at_ledger(courier())));
    server.handle.publish(peace());
    let last = world(at_ledger(Caller::Unauthenticated));
    server.handle.publish(last);
    stream.send(ack(&first, &[IN])).await;
    let second = stream.answer().await;
    assert_eq!((second.nonce.as_str(), enforced(&second)), ("2", vec![(IN.to_owned(), 1)]));
    stream.send(ack(&second, &[IN])).await;
    server.acked().await;
    assert_eq!(server.acked().await, second.version_info);
    assert!(server.handle.nodes()[0].in_sync());
    assert_eq!(server.handle.view().standing(), XdsStanding { in_sync: 1, ..XdsStanding::default() });
    server.stop().await;
}

#[tokio::test]
async fn a_stuck_proxy_is_named_and_not_waited_for() {
    let stuck_after = Duration::from_millis(20);
    let mut server = Server::start(XdsConfig { stuck_after, ..config() }).await;
    server.handle.publish(peace());
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN])).await;
    let first = stream.answer().await;
    let version = loop {
        if let XdsEventKind::Stuck { version } = server.event().await {
            break version;
        }
    };
    assert_eq!(version, first.version_info);
    assert!(server.handle.nodes()[0].stuck);
    assert_eq!(server.handle.view().standing(), XdsStanding { stuck: 1, ..XdsStanding::default() });
    server.handle.publish(world(at_ledger(courier())));
    assert_eq!(stream.answer().await.nonce, "2");
    server.stop().await;
}

#[tokio::test]
async fn names_may_be_added_and_what_is_not_asked_for_is_known() {
    let mut server = Server::start(config()).await;
    server.handle.publish(world(vec![cut(Place::Outbound, "ledger", Caller::Local)]));
    let mut stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN, "somebody-elses"])).await;
    let answer = stream.answer().await;
    assert_eq!(enforced(&answer), [(IN.to_owned(), 0)]);
    stream.send(ack(&answer, &[IN])).await;
    server.acked().await;
    let state = server.handle.nodes().remove(0);
    assert_eq!((state.quarantines.len(), state.unasked.len()), (0, 1));
    stream.send(ack(&answer, &[IN, OUT])).await;
    assert_eq!(enforced(&stream.answer().await), [(IN.to_owned(), 0), (OUT.to_owned(), 1)]);
    assert_eq!(server.handle.nodes()[0].unasked.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn other_types_are_counted_and_never_answered() {
    let server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.state_of_the_world().await;
    let type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    stream.send(DiscoveryRequest { type_url, node: node("ledger"), ..DiscoveryRequest::default() }).await;
    stream.send(subscribe(None, &[IN])).await;
    assert_eq!(enforced(&stream.answer().await), [(IN.to_owned(), 0)]);
    assert_eq!(server.handle.stats().foreign.load(Ordering::Relaxed), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_the_rules_is_ended_with_the_reason() {
    let server = Server::start(config()).await;
    let mut nameless = server.state_of_the_world().await;
    nameless.send(subscribe(None, &[IN])).await;
    assert_eq!(nameless.end().await.code(), tonic::Code::InvalidArgument);

    let names: Vec<String> = (0..65).map(|number| format!("filter-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut greedy = server.state_of_the_world().await;
    greedy.send(subscribe(node("ledger"), &names)).await;
    assert_eq!(greedy.end().await.code(), tonic::Code::ResourceExhausted);

    let mut huge = server.state_of_the_world().await;
    let node = node("ledger").map(|node| Node { id: "x".repeat(2 << 20), ..node });
    huge.send(subscribe(node, &[IN])).await;
    assert_eq!(huge.end().await.code(), tonic::Code::OutOfRange);
    server.stop().await;
}

#[tokio::test]
async fn who_leaves_is_forgotten() {
    let mut server = Server::start(config()).await;
    let stream = server.state_of_the_world().await;
    stream.send(subscribe(node("ledger"), &[IN])).await;
    assert_eq!(server.event().await, XdsEventKind::Connected);
    drop(stream);
    assert_eq!(server.event().await, XdsEventKind::Disconnected);
    assert!(server.handle.nodes().is_empty());
    server.stop().await;
}
