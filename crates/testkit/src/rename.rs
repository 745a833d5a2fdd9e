//! The same telemetry under other names: nothing may depend on what things are called.

use crate::frame::RawFrame;
use crate::wire::{put, split};
use selvedge_model::SignalKind;

/// Old names and new ones. A name is replaced where it stands as a whole word: next to it is no letter and no digit.
#[derive(Clone, Debug)]
pub struct Renaming {
    /// Longest first, so that `paste.example` is not taken for `paste`.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Renaming {
    /// From pairs of old and new; names may be swapped with each other, empty ones are ignored.
    #[must_use]
    pub fn new<Old: AsRef<[u8]>, New: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (Old, New)>) -> Self {
        let bytes = |(old, new): (Old, New)| (old.as_ref().to_vec(), new.as_ref().to_vec());
        let mut pairs: Vec<_> = pairs.into_iter().map(bytes).filter(|(old, _)| !old.is_empty()).collect();
        pairs.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then_with(|| left.cmp(right)));
        Self { pairs }
    }

    /// The text under the new names, in one pass: what was replaced is not looked at again.
    #[must_use]
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut renamed = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let starts_word = at == 0 || !text[at - 1].is_ascii_alphanumeric();
            let found = self.pairs.iter().find(|(old, _)| {
                let ends_word = text.get(at + old.len()).is_none_or(|next| !next.is_ascii_alphanumeric());
                starts_word && ends_word && text[at..].starts_with(old)
            });
            match found {
                Some((old, new)) => {
                    renamed.extend(new);
                    at += old.len();
                }
                None => {
                    renamed.push(text[at]);
                    at += 1;
                }
            }
        }
        renamed
    }
}

/// What stands in a field: text to rename, or a message to look into. Fields that are not listed (numbers, ids, the
/// keys of attributes) stay as they are.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Message(&'static Schema),
}

struct Schema(&'static [(u64, Holds)]);

use Holds::{Message, Text};

// The messages of OTLP 1.x, as far as they hold text (opentelemetry/proto/*/v1/*.proto).
static ANY_VALUE: Schema = Schema(&[(1, Text), (5, Message(&VALUES)), (6, Message(&PAIRS)), (7, Text)]);
static VALUES: Schema = Schema(&[(1, Message(&ANY_VALUE))]);
static PAIRS: Schema = Schema(&[(1, Message(&PAIR))]);
static PAIR: Schema = Schema(&[(2, Message(&ANY_VALUE))]);
static RESOURCE: Schema = Schema(&[(1, Message(&PAIR))]);
static SCOPE: Schema = Schema(&[(1, Text), (3, Message(&PAIR))]);

static TRACES: Schema = Schema(&[(1, Message(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Schema = Schema(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_SPANS))]);
static SCOPE_SPANS: Schema = Schema(&[(1, Message(&SCOPE)), (2, Message(&SPAN))]);
static SPAN: Schema = Schema(&[
    (3, Text),
    (5, Text),
    (9, Message(&PAIR)),
    (11, Message(&SPAN_EVENT)),
    (13, Message(&SPAN_LINK)),
    (15, Message(&STATUS)),
]);
static SPAN_EVENT: Schema = Schema(&[(2, Text), (3, Message(&PAIR))]);
static SPAN_LINK: Schema = Schema(&[(3, Text), (4, Message(&PAIR))]);
static STATUS: Schema = Schema(&[(2, Text)]);

static LOGS: Schema = Schema(&[(1, Message(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Schema = Schema(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_LOGS))]);
static SCOPE_LOGS: Schema = Schema(&[(1, Message(&SCOPE)), (2, Message(&LOG_RECORD))]);
static LOG_RECORD: Schema = Schema(&[(5, Message(&ANY_VALUE)), (6, Message(&PAIR)), (12, Text)]);

static METRICS: Schema = Schema(&[(1, Message(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Schema = Schema(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_METRICS))]);
static SCOPE_METRICS: Schema = Schema(&[(1, Message(&SCOPE)), (2, Message(&METRIC))]);
static METRIC: Schema = Schema(&[
    (1, Text),
    (2, Text),
    (5, Message(&NUMBERS)),
    (7, Message(&NUMBERS)),
    (9, Message(&HISTOGRAMS)),
    (10, Message(&EXPONENTIALS)),
    (11, Message(&SUMMARIES)),
    (12, Message(&PAIR)),
]);
static NUMBERS: Schema = Schema(&[(1, Message(&NUMBER))]);
static NUMBER: Schema = Schema(&[(5, Message(&EXEMPLAR)), (7, Message(&PAIR))]);
static HISTOGRAMS: Schema = Schema(&[(1, Message(&HISTOGRAM))]);
static HISTOGRAM: Schema = Schema(&[(8, Message(&EXEMPLAR)), (9, Message(&PAIR))]);
static EXPONENTIALS: Schema = Schema(&[(1, Message(&EXPONENTIAL))]);
static EXPONENTIAL: Schema = Schema(&[(1, Message(&PAIR)), (11, Message(&EXEMPLAR))]);
static SUMMARIES: Schema = Schema(&[(1, Message(&SUMMARY))]);
static SUMMARY: Schema = Schema(&[(7, Message(&PAIR))]);
static EXEMPLAR: Schema = Schema(&[(7, Message(&PAIR))]);

/// Rewrites names in every text of the frames: values of attributes, names of spans and metrics, bodies of logs. Works
/// on bytes, so that text which is not UTF-8 stays what it was. Lengths of enclosing messages are made anew; whatever
/// does not parse stays untouched.
#[must_use]
pub fn rename(frames: &[RawFrame], names: &Renaming) -> Vec<RawFrame> {
    frames
        .iter()
        .map(|frame| {
            let schema = match frame.signal {
                SignalKind::Traces => &TRACES,
                SignalKind::Metrics => &METRICS,
                SignalKind::Logs => &LOGS,
            };
            RawFrame { payload: message(&frame.payload, schema, names), ..frame.clone() }
        })
        .collect()
}

fn message(bytes: &[u8], schema: &Schema, names: &Renaming) -> Vec<u8> {
    let Some(fields) = split(bytes) else { return bytes.to_vec() };
    let mut renamed = Vec::with_capacity(bytes.len());
    for field in fields {
        let holds = schema.0.iter().find(|(number, _)| *number == field.number).map(|(_, holds)| *holds);
        match (field.content, holds) {
            (Some(text), Some(Text)) => put(&mut renamed, field.number, &names.apply(text)),
            (Some(inner), Some(Message(schema))) => {
                put(&mut renamed, field.number, &message(inner, schema, names))
            }
            _ => renamed.extend(field.raw),
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    use super::*;
    use crate::Traffic;

    fn traffic(names: [&str; 3]) -> Vec<RawFrame> {
        let mut traffic = Traffic::seeded(5);
        traffic.repeat(10, &names.join(" -> "));
        traffic.frames()
    }

    fn holds(frames: &[RawFrame], word: &[u8]) -> bool {
        frames.iter().any(|frame| frame.payload.windows(word.len()).any(|bytes| bytes == word))
    }

    #[test]
    fn only_whole_words_are_renamed_longest_first_and_in_one_pass() {
        let names =
            Renaming::new([("cart", "ledger"), ("ledger", "cart"), ("cart.example", "host.test"), ("", "x")]);
        let apply = |text: &str| String::from_utf8(names.apply(text.as_bytes())).unwrap();
        assert_eq!(apply("outbound|80||cart.store"), "outbound|80||ledger.store");
        assert_eq!(apply("cart-0 ledger_1 cartoon scart"), "ledger-0 cart_1 cartoon scart");
        assert_eq!(apply("http://cart.example/cart"), "http://host.test/ledger");
    }

    #[test]
    fn renamed_traffic_has_the_new_names_only_and_is_still_whole() {
        let frames = traffic(["web", "cart", "ledger"]);
        let names = Renaming::new([
            ("web", "frontdoor"),
            ("cart", "b"),
            ("ledger", "the-books"),
            ("store", "bazaar"),
        ]);
        let renamed = rename(&frames, &names);
        for old in ["cart", "ledger", "store"] {
            assert!(holds(&frames, old.as_bytes()) && !holds(&renamed, old.as_bytes()), "{old}");
        }
        assert!(holds(&renamed, b"spiffe://mesh.test/ns/bazaar/sa/the-books"));
        for frame in &renamed {
            match frame.signal {
                SignalKind::Traces => drop(ExportTraceServiceRequest::decode(&frame.payload[..]).unwrap()),
                SignalKind::Logs => drop(ExportLogsServiceRequest::decode(&frame.payload[..]).unwrap()),
                SignalKind::Metrics => {}
            }
        }
        let back = Renaming::new([
            ("frontdoor", "web"),
            ("b", "cart"),
            ("the-books", "ledger"),
            ("bazaar", "store"),
        ]);
        assert_eq!(rename(&renamed, &back), frames);
    }

    #[test]
    fn keys_of_attributes_keep_their_names() {
        let frames = traffic(["web", "cart", "ledger"]);
        let renamed = rename(&frames, &Renaming::new([("http", "gopher"), ("service", "thing")]));
        assert!(holds(&renamed, b"http.method") && holds(&renamed, b"service.name"));
    }

    #[test]
    fn metric_points_are_renamed_and_foreign_bytes_are_left_alone() {
        // metric { name "cart", sum { point { attributes { key "cart" value "cart" } } } }, one level per line.
        let attribute = b"\x0a\x04cart\x12\x06\x0a\x04cart";
        let mut layers = attribute.to_vec();
        for number in [7, 1, 7] {
            let mut outer = Vec::new();
            put(&mut outer, number, &layers);
            layers = outer;
        }
        let mut metric = b"\x0a\x04cart".to_vec();
        metric.extend(&layers);
        for number in [2, 2, 1] {
            let mut outer = Vec::new();
            put(&mut outer, number, &metric);
            metric = outer;
        }
        let frame = RawFrame {
            signal: SignalKind::Metrics,
            observed: selvedge_model::ObservedTime(1),
            payload: metric,
        };
        let renamed = rename(std::slice::from_ref(&frame), &Renaming::new([("cart", "ledger")]));
        let count =
            |word: &[u8]| renamed[0].payload.windows(word.len()).filter(|bytes| *bytes == word).count();
        assert_eq!((count(b"cart"), count(b"ledger")), (1, 2), "the key stays");
        let foreign = RawFrame { payload: b"\xff\xff cart".to_vec(), ..frame };
        assert_eq!(rename(std::slice::from_ref(&foreign), &Renaming::new([("cart", "x")])), [foreign]);
    }
}
