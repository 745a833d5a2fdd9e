//! What the text of an identity says: its trust domain, namespace and service account.
//!
//! Two forms are read: SPIFFE ids as Istio lays them out (`spiffe://domain/ns/NAMESPACE/sa/ACCOUNT`) and Linkerd's
//! DNS names (`ACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.DOMAIN`).

const SPIFFE: &str = "spiffe://";
const LINKERD_MARK: &str = ".serviceaccount.identity.";

/// The trust domain of a principal; `None` when the text has another form.
#[must_use]
pub fn trust_domain(principal: &str) -> Option<&str> {
    if let Some(rest) = principal.strip_prefix(SPIFFE) {
        return rest.split('/').next().filter(|domain| !domain.is_empty());
    }
    principal.split_once(LINKERD_MARK).map(|(_, domain)| domain).filter(|domain| !domain.is_empty())
}

/// The namespace of a principal.
#[must_use]
pub fn principal_namespace(principal: &str) -> Option<&str> {
    if principal.starts_with(SPIFFE) {
        return path_value(principal, "ns");
    }
    let (account, _) = principal.split_once(LINKERD_MARK)?;
    account.rsplit_once('.').map(|(_, namespace)| namespace)
}

/// The service account of a principal.
#[must_use]
pub fn principal_service_account(principal: &str) -> Option<&str> {
    if principal.starts_with(SPIFFE) {
        return path_value(principal, "sa");
    }
    let (account, _) = principal.split_once(LINKERD_MARK)?;
    account.rsplit_once('.').map(|(account, _)| account)
}

fn path_value<'a>(principal: &'a str, key: &str) -> Option<&'a str> {
    let mut segments = principal.strip_prefix(SPIFFE)?.split('/').skip(1);
    while let Some(segment) = segments.next() {
        if segment == key {
            return segments.next().filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_identity_give_domain_namespace_and_account() {
        for id in
            ["spiffe://mesh.example/ns/store/sa/cart", "cart.store.serviceaccount.identity.mesh.example"]
        {
            assert_eq!(trust_domain(id), Some("mesh.example"), "{id}");
            assert_eq!(principal_namespace(id), Some("store"), "{id}");
            assert_eq!(principal_service_account(id), Some("cart"), "{id}");
        }
    }

    #[test]
    fn other_text_gives_nothing() {
        for text in ["", "-", "spiffe://", "CN=cart", "spiffe://d/workload/cart"] {
            assert_eq!(principal_namespace(text), None, "{text}");
        }
        assert_eq!(trust_domain("CN=cart"), None);
        assert_eq!(trust_domain("spiffe://d/workload/cart"), Some("d"));
    }
}
