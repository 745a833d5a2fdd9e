//! ADS, delta.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use selvedge_enforce::xds::XdsEventKind;
use selvedge_model::{Caller, Place};

use super::quarantines::{courier, cut, peace, world};
use super::server::{ECDS, IN, OUT, Server, config, node};

fn change(node: Option<Node>, add: &[&str], remove: &[&str]) -> DeltaDiscoveryRequest {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    DeltaDiscoveryRequest {
        node,
        type_url: ECDS.to_owned(),
        resource_names_subscribe: owned(add),
        resource_names_unsubscribe: owned(remove),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(answer: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { response_nonce: answer.nonce.clone(), ..change(None, &[], &[]) }
}

fn names(answer: &DeltaDiscoveryResponse) -> Vec<&str> {
    answer.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[tokio::test]
async fn only_what_has_changed_is_sent() {
    let mut server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.delta().await;
    stream.send(change(node("ledger"), &[IN, OUT], &[])).await;
    let first = stream.answer().await;
    assert_eq!(names(&first), [IN, OUT]);
    stream.send(ack(&first)).await;
    server.acked().await;
    server.handle.publish(world(vec![cut(Place::Outbound, "ledger", Caller::Local)]));
    let second = stream.answer().await;
    assert_eq!(names(&second), [OUT]);
    stream.send(ack(&second)).await;
    server.acked().await;
    let state = server.handle.nodes().remove(0);
    assert!(state.delta && state.in_sync());
    server.stop().await;
}

#[tokio::test]
async fn a_name_may_be_added_dropped_and_asked_for_again() {
    let mut server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.delta().await;
    stream.send(change(node("ledger"), &[IN], &[])).await;
    let first = stream.answer().await;
    assert_eq!(names(&first), [IN]);
    stream.send(ack(&first)).await;
    server.acked().await;
    stream.send(change(None, &[OUT], &[])).await;
    let second = stream.answer().await;
    assert_eq!(names(&second), [OUT]);
    stream.send(DeltaDiscoveryRequest { response_nonce: second.nonce, ..change(None, &[], &[IN]) }).await;
    server.acked().await;
    assert!(server.handle.nodes()[0].in_sync());
    // Nobody asks for it any more; the next answer is about the other.
    server.handle.publish(world(vec![cut(Place::Inbound, "ledger", courier())]));
    stream.send(change(None, &[OUT], &[])).await;
    let third = stream.answer().await;
    assert_eq!((names(&third), third.nonce.as_str()), (vec![OUT], "3"));
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_stands_for_nothing_is_said_to_be_gone() {
    let server = Server::start(config()).await;
    server.handle.publish(peace());
    let mut stream = server.delta().await;
    stream.send(change(node("ledger"), &["somebody-elses", IN], &[])).await;
    let answer = stream.answer().await;
    assert_eq!(names(&answer), [IN]);
    assert_eq!(answer.removed_resources, ["somebody-elses"]);
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_gets_only_what_it_does_not_have() {
    let server = Server::start(config()).await;
    let denied = || world(vec![cut(Place::Inbound, "ledger", courier())]);
    server.handle.publish(denied());
    let mut stream = server.delta().await;
    stream.send(change(node("ledger"), &[IN, OUT], &[])).await;
    let first = stream.answer().await;
    let version = first.system_version_info.clone();
    server.stop().await;

    let mut server = Server::start(config()).await;
    server.handle.publish(denied());
    let mut stream = server.delta().await;
    let had =
        first.resources.iter().map(|resource| (resource.name.clone(), resource.version.clone())).collect();
    let again =
        DeltaDiscoveryRequest { initial_resource_versions: had, ..change(node("ledger"), &[IN, OUT], &[]) };
    stream.send(again).await;
    assert_eq!(server.event().await, XdsEventKind::Connected);
    assert_eq!(server.event().await, XdsEventKind::Acked { version });
    server.handle.publish(peace());
    let answer = stream.answer().await;
    assert_eq!((names(&answer), answer.nonce.as_str()), (vec![IN], "1"));
    server.stop().await;
}
