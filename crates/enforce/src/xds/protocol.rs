//! The two ADS protocols: how their messages read in the words of `subscription.rs`.

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use prost::Name;

use super::subscription::{Answer, Asked, Names};

/// A request, apart from what kind it is.
pub(crate) struct Request {
    pub(crate) node: Option<Node>,
    /// `None` when it asks for another type than ours, and which.
    pub(crate) asked: Result<Asked, String>,
}

/// One of the two protocols.
pub(crate) trait Protocol: Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    /// Every answer holds all resources.
    const WHOLE: bool;

    fn read(request: Self::Request) -> Request;
    fn write(answer: Answer) -> Self::Response;
}

/// `StreamAggregatedResources`.
pub(crate) struct StateOfTheWorld;

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const WHOLE: bool = true;

    fn read(request: DiscoveryRequest) -> Request {
        let asked = Asked {
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            names: Names::All { names: request.resource_names, version: request.version_info },
        };
        Request { node: request.node, asked: ours(request.type_url, asked) }
    }

    fn write(answer: Answer) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: answer.version,
            resources: answer.resources.into_iter().map(|(_, _, config)| config).collect(),
            type_url: TypedExtensionConfig::type_url(),
            nonce: answer.nonce,
            ..DiscoveryResponse::default()
        }
    }
}

/// `DeltaAggregatedResources`.
pub(crate) struct Delta;

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const WHOLE: bool = false;

    fn read(request: DeltaDiscoveryRequest) -> Request {
        let asked = Asked {
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            names: Names::Change {
                add: request.resource_names_subscribe,
                remove: request.resource_names_unsubscribe,
                versions: request.initial_resource_versions.into_iter().collect(),
            },
        };
        Request { node: request.node, asked: ours(request.type_url, asked) }
    }

    fn write(answer: Answer) -> DeltaDiscoveryResponse {
        let resource = |(name, version, config)| Resource {
            name,
            version,
            resource: Some(config),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            system_version_info: answer.version,
            resources: answer.resources.into_iter().map(resource).collect(),
            removed_resources: answer.gone,
            type_url: TypedExtensionConfig::type_url(),
            nonce: answer.nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

fn ours(type_url: String, asked: Asked) -> Result<Asked, String> {
    if type_url == TypedExtensionConfig::type_url() { Ok(asked) } else { Err(type_url) }
}
