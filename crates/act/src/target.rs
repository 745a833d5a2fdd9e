//! An address that alerts are sent to. It may hold a secret in its path or query: only its origin is ever shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use crate::secret::Secret;

/// An `http` or `https` address.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Uri);

impl Target {
    /// From text.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.trim().parse().map_err(|error| format!("is not an address: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("must begin with http:// or https://".to_owned());
        }
        let Some(authority) = uri.authority() else { return Err("names no host".to_owned()) };
        if authority.host().is_empty() {
            return Err("names no host".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must not hold a user or a password".to_owned());
        }
        Ok(Self(uri))
    }

    /// The same host with more path: `join("/api/v2/alerts")`.
    ///
    /// # Errors
    /// The result is not an address.
    pub fn join(&self, path: &str) -> Result<Self, String> {
        let mut parts = self.0.clone().into_parts();
        let base = self.0.path().trim_end_matches('/');
        let joined =
            format!("{base}{path}").parse().map_err(|error| format!("is not an address: {error}"))?;
        parts.path_and_query = Some(joined);
        Uri::from_parts(parts).map(Self).map_err(|error| format!("is not an address: {error}"))
    }

    /// The address.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// `host:port` as written.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// The part that may be a secret: path and query.
    #[must_use]
    pub fn hidden(&self) -> Secret {
        Secret::new(self.0.path_and_query().map_or("", |path| path.as_str()).to_owned())
    }

    /// The host when it is an IP address and not a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.host().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme_str().unwrap_or("http"), self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self}/..)")
    }
}

/// True for addresses that no alert has business with: link-local ones, and where clouds hand out credentials.
///
/// 169.254.0.0/16 and fe80::/10 are link-local and hold most metadata services; the rest lie elsewhere: EC2 over IPv6
/// (fd00:ec2::/32), Alibaba (100.100.100.200), Oracle (192.0.0.192), Azure's wire server (168.63.129.16).
pub(crate) fn forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> bool {
    const METADATA: [Ipv4Addr; 3] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
    address.is_link_local() || METADATA.contains(&address)
}

fn forbidden_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    address.is_unicast_link_local()
        || (first, second) == (0xfd00, 0x0ec2)
        || address.to_ipv4_mapped().is_some_and(forbidden_v4)
        // NAT64 (RFC 6052) reaches IPv4 addresses too.
        || (first, second) == (0x0064, 0xff9b) && forbidden_v4(embedded(address))
}

fn embedded(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_origin_only() {
        let target =
            Target::parse("https://hooks.example:8443/services/T0/B0/verysecret?token=alsosecret").unwrap();
        assert_eq!(target.to_string(), "https://hooks.example:8443");
        assert!(!format!("{target:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for text in ["ftp://secret.example", "secret", "", "http://", "https://me:secret@host/", "/secret"] {
            let problem = Target::parse(text).unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_path_is_added_below_the_one_that_is_there() {
        let join =
            |base: &str| Target::parse(base).unwrap().join("/api/v2/alerts").unwrap().uri().to_string();
        assert_eq!(join("http://am:9093"), "http://am:9093/api/v2/alerts");
        assert_eq!(join("http://am:9093/prefix/"), "http://am:9093/prefix/api/v2/alerts");
    }

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden_in_every_notation() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(forbidden(text.parse().unwrap()), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "2001:db8::1", "8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(!forbidden(text.parse().unwrap()), "{text}");
        }
    }
}
