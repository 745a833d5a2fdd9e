//! Forwarded client certificates (XFCC): does the header tell a story that the verified peer can vouch for?
//!
//! Each proxy that forwards appends one element: `By` is its own identity, `URI` the peer it verified. So the oldest
//! element is first, an element's `By` is the next one's `URI` (who appended it then connected onwards as that), and
//! the last `URI` is the peer that we verified ourselves (`envoy.md` 3.5). Anything else was written by somebody who
//! could not have known it. Names that are missing on either side of a link are not judged, except that an element
//! which claims a SPIFFE identity must say who verified it.

use selvedge_model::{ForwardedIdentity, Security};

/// Elements looked at, newest first; a chain is as long as the proxies in front of each other.
const ELEMENTS_MAX: usize = 16;

/// The verdict, and the identity that the contradicting element claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict<'a> {
    pub(crate) forwarded: ForwardedIdentity,
    pub(crate) claimed: Option<&'a str>,
}

/// Judges the header after sanitising (`header`) and as it came in (`raw`) against the peer we verified.
pub(crate) fn judge<'a>(
    header: &'a str,
    raw: &'a str,
    peer: Option<&str>,
    security: Security,
) -> Verdict<'a> {
    let (header, raw) = (Chain::parse(header), Chain::parse(raw));
    if header.is_empty() && raw.is_empty() {
        return Verdict::default();
    }
    let plaintext = security == Security::Plaintext;
    let forged = header
        .forged(|last| plaintext || peer.is_some_and(|peer| last.denies("URI", peer)))
        // The raw header's last element was added by the peer itself, so its `By` is the peer.
        .or_else(|| raw.forged(|last| plaintext || peer.is_some_and(|peer| last.denies_verifier(peer))));
    match forged {
        Some(element) => {
            Verdict { forwarded: ForwardedIdentity::Contradicts, claimed: element.values("URI").next() }
        }
        None => Verdict { forwarded: ForwardedIdentity::Consistent, claimed: None },
    }
}

/// One proxy's word.
#[derive(Clone, Copy)]
struct Element<'a>(&'a str);

impl<'a> Element<'a> {
    fn values(self, key: &'static str) -> impl Iterator<Item = &'a str> {
        split_unquoted(self.0, b';').filter_map(move |pair| {
            let (name, value) = pair.split_once('=')?;
            let value = value.trim().trim_matches('"');
            (name.trim().eq_ignore_ascii_case(key) && !value.is_empty()).then_some(value)
        })
    }

    /// The element has this key, and never with this value.
    fn denies(self, key: &'static str, value: &str) -> bool {
        let mut values = self.values(key).peekable();
        values.peek().is_some() && values.all(|own| own != value)
    }

    /// The element cannot have been added by `verifier`.
    fn denies_verifier(self, verifier: &str) -> bool {
        if self.values("By").next().is_none() {
            return self.values("URI").any(|claimed| claimed.starts_with("spiffe://"));
        }
        self.denies("By", verifier)
    }
}

/// The newest elements, oldest first.
struct Chain<'a> {
    elements: [&'a str; ELEMENTS_MAX],
    length: usize,
}

impl<'a> Chain<'a> {
    fn parse(header: &'a str) -> Self {
        let mut chain = Self { elements: [""; ELEMENTS_MAX], length: 0 };
        for element in split_unquoted(header, b',').map(str::trim).filter(|element| !element.is_empty()) {
            if chain.length == ELEMENTS_MAX {
                chain.elements.rotate_left(1);
                chain.length -= 1;
            }
            chain.elements[chain.length] = element;
            chain.length += 1;
        }
        chain
    }

    fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The oldest element that the next one contradicts, else the last one when `last_denied` says so.
    fn forged(&self, last_denied: impl Fn(Element<'a>) -> bool) -> Option<Element<'a>> {
        let elements = &self.elements[..self.length];
        let broken =
            elements.windows(2).map(|pair| (Element(pair[0]), Element(pair[1]))).find(|(older, newer)| {
                let mut verifiers = newer.values("URI").peekable();
                verifiers.peek().is_some() && verifiers.all(|verifier| older.denies_verifier(verifier))
            });
        let last = || elements.last().map(|last| Element(last)).filter(|last| last_denied(*last));
        broken.map(|(older, _)| older).or_else(last)
    }
}

/// The parts between separators that are not inside double quotes; a backslash escapes a quote.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let was_escaped = std::mem::replace(&mut escaped, false);
            match byte {
                b'\\' if quoted && !was_escaped => escaped = true,
                b'"' if !was_escaped => quoted = !quoted,
                _ => {}
            }
            byte == separator && !quoted
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "spiffe://mesh.example/ns/front/sa/web";
    const CART: &str = "spiffe://mesh.example/ns/front/sa/cart";
    const LEDGER: &str = "spiffe://mesh.example/ns/back/sa/ledger";

    fn element(by: &str, uri: &str) -> String {
        format!("By={by};Hash=ab12;Subject=\"CN=a, O=\\\"b;c\\\"\";URI={uri}")
    }

    #[test]
    fn one_honest_element_names_us_and_our_peer() {
        let header = element(LEDGER, CART);
        let verdict = judge(&header, "", Some(CART), Security::MutualTls);
        assert_eq!(verdict, Verdict { forwarded: ForwardedIdentity::Consistent, claimed: None });
    }

    #[test]
    fn an_honest_chain_hands_on_from_peer_to_peer() {
        let raw = element(CART, WEB);
        let header = format!("{raw},{}", element(LEDGER, CART));
        let verdict = judge(&header, &raw, Some(CART), Security::MutualTls);
        assert_eq!(verdict.forwarded, ForwardedIdentity::Consistent);
    }

    #[test]
    fn a_forged_first_element_is_contradicted_by_the_true_last_one() {
        let header = format!("{},{}", element(LEDGER, CART), element(LEDGER, WEB));
        let verdict = judge(&header, "", Some(WEB), Security::MutualTls);
        assert_eq!(verdict, Verdict { forwarded: ForwardedIdentity::Contradicts, claimed: Some(CART) });
    }

    #[test]
    fn leaving_out_the_verifier_does_not_help_the_forger() {
        let header = format!("URI={CART},{}", element(LEDGER, WEB));
        let verdict = judge(&header, "", Some(WEB), Security::MutualTls);
        assert_eq!(verdict.claimed, Some(CART));
        // An external client behind a gateway with a public certificate claims nothing in the mesh.
        let header = format!("Hash=ab;Subject=\"CN=app\",{}", element(LEDGER, WEB));
        let verdict = judge(&header, "", Some(WEB), Security::MutualTls);
        assert_eq!(verdict.forwarded, ForwardedIdentity::Consistent);
    }

    #[test]
    fn the_last_element_must_name_the_verified_peer() {
        let header = element(LEDGER, CART);
        let verdict = judge(&header, "", Some(WEB), Security::MutualTls);
        assert_eq!(verdict, Verdict { forwarded: ForwardedIdentity::Contradicts, claimed: Some(CART) });
    }

    #[test]
    fn a_raw_header_on_plaintext_is_nobodys_word() {
        let raw = element(LEDGER, CART);
        let verdict = judge("", &raw, None, Security::Plaintext);
        assert_eq!(verdict, Verdict { forwarded: ForwardedIdentity::Contradicts, claimed: Some(CART) });
    }

    #[test]
    fn a_raw_header_that_the_peer_did_not_write_is_forged() {
        let raw = element(LEDGER, CART);
        let header = element(LEDGER, WEB);
        let verdict = judge(&header, &raw, Some(WEB), Security::MutualTls);
        assert_eq!(verdict, Verdict { forwarded: ForwardedIdentity::Contradicts, claimed: Some(CART) });
    }

    #[test]
    fn endless_and_broken_headers_are_bounded() {
        let endless = element(CART, CART) + &format!(",{}", element(CART, CART)).repeat(1_000);
        let verdict = judge(&endless, "", Some(CART), Security::MutualTls);
        assert_eq!(verdict.forwarded, ForwardedIdentity::Consistent);
        for header in ["\"", ",,;;==", "By", "\"URI=\\", "By=;URI="] {
            let verdict = judge(header, "", Some(CART), Security::MutualTls);
            assert_ne!(verdict.forwarded, ForwardedIdentity::Contradicts, "{header}");
        }
        assert_eq!(judge("", "", Some(CART), Security::MutualTls), Verdict::default());
    }
}
