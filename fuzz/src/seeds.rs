//! Makes `corpus/` anew: small inputs cut from `fixtures/`, from the files that people write, and some made by hand.
//!
//! `cargo run -p selvedge-fuzz --features fuzzer --bin seeds`. Inputs that a campaign found stay: their names are hashes.

use std::fs;
use std::path::{Path, PathBuf};

use selvedge_model::SignalKind;
use selvedge_replay::capture::{CaptureReader, CaptureWriter, Compression};
use selvedge_testkit::{RawFrame, recut};

/// Bytes of one seed; a fuzzer is quick on short ones.
const SEED_BYTES_MAX: usize = 1_500;
/// Seeds of one signal, at most.
const FRAMES_MAX: usize = 16;
/// Why a step of this program cannot fail.
const OURS: &str = "the repository's own files";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let corpus = Corpus(root.join("fuzz/corpus"));
    let frames = frames(&root.join("fixtures/envoy"));
    for (name, signal) in
        [("traces", SignalKind::Traces), ("logs", SignalKind::Logs), ("metrics", SignalKind::Metrics)]
    {
        let of_signal = frames.iter().filter(|frame| frame.signal == signal);
        for (number, frame) in of_signal.take(FRAMES_MAX).enumerate() {
            corpus.put(name, &format!("fixture-{number}"), &frame.payload);
            let tagged = [&[signal as u8][..], &frame.payload].concat();
            corpus.put("agreement", &format!("{name}-{number}"), &tagged);
            if let Some(text) = selvedge_fuzz::agreement::as_json(signal, &frame.payload) {
                corpus.put("json", &format!("{name}-{number}"), &[&[signal as u8], text.as_bytes()].concat());
            }
        }
    }
    captures(&corpus, &frames);
    scripts(&corpus, &frames);
    texts(&corpus, &root);
    conversations(&corpus);
}

struct Corpus(PathBuf);

impl Corpus {
    fn put(&self, target: &str, name: &str, bytes: &[u8]) {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder).expect(OURS);
        fs::write(folder.join(format!("seed-{name}")), bytes).expect(OURS);
    }
}

/// Batches of a few records, from all captures in turn, so that a few of each say something different.
fn frames(folder: &Path) -> Vec<RawFrame> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect(OURS).flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".otlpcap.zst"));
    paths.sort();
    let mut by_capture: Vec<_> = paths.iter().map(|path| small_frames(path).into_iter()).collect();
    let mut frames = Vec::new();
    for _ in 0..200 {
        frames.extend(by_capture.iter_mut().filter_map(Iterator::next));
    }
    frames
}

fn small_frames(path: &Path) -> Vec<RawFrame> {
    let reader = CaptureReader::open(path).expect(OURS).map(|frame| frame.expect(OURS));
    let whole: Vec<RawFrame> = reader
        .map(|frame| RawFrame {
            signal: frame.signal,
            observed: frame.observed.unwrap_or_default(),
            payload: frame.body,
        })
        .collect();
    let mut small = recut(&whole, 1);
    small.retain(|frame| frame.payload.len() <= SEED_BYTES_MAX);
    // From the end: that is where the attack is.
    small.reverse();
    small
}

fn captures(corpus: &Corpus, frames: &[RawFrame]) {
    for (number, some) in frames.chunks(2).take(5).enumerate() {
        for (compression, name) in [(Compression::None, "plain"), (Compression::Zstd, "zstd")] {
            let mut writer = CaptureWriter::new(Vec::new(), compression).expect(OURS);
            for frame in some {
                writer.write(frame.signal, frame.observed, &frame.payload).expect(OURS);
            }
            let bytes = writer.finish().expect(OURS);
            corpus.put("captures", &format!("{name}-{number}"), &bytes);
            if name == "plain" {
                let length = u16::try_from(bytes.len()).expect(OURS).to_le_bytes();
                corpus.put("journals", &format!("one-{number}"), &[&length[..], &[0], &bytes].concat());
                let half = (u16::from_le_bytes(length) / 2).to_le_bytes();
                corpus.put("journals", &format!("two-{number}"), &[&half[..], &[2], &bytes, &bytes].concat());
            }
        }
        let lines: Vec<String> = some
            .iter()
            .filter_map(|frame| selvedge_fuzz::agreement::as_json(frame.signal, &frame.payload))
            .collect();
        corpus.put("captures", &format!("lines-{number}"), lines.join("\n").as_bytes());
        let framed = some.iter().flat_map(|frame| {
            [&u32::try_from(frame.payload.len()).expect(OURS).to_be_bytes()[..], &frame.payload].concat()
        });
        corpus.put("captures", &format!("framed-{number}"), &framed.collect::<Vec<u8>>());
    }
}

fn scripts(corpus: &Corpus, frames: &[RawFrame]) {
    for (number, some) in frames.chunks(4).take(12).enumerate() {
        let mut script = Vec::new();
        for (at, frame) in some.iter().enumerate() {
            let length = u16::try_from(frame.payload.len()).expect(OURS).to_le_bytes();
            script.extend([frame.signal as u8, u8::try_from(at * 4).expect(OURS), length[0], length[1]]);
            script.extend(&frame.payload);
        }
        corpus.put("pipeline", &number.to_string(), &script);
    }
}

fn texts(corpus: &Corpus, root: &Path) {
    for folder in ["docs", "examples"] {
        for entry in fs::read_dir(root.join(folder)).expect(OURS).flatten().map(|entry| entry.path()) {
            let Ok(text) = fs::read_to_string(&entry) else { continue };
            let name = entry.file_stem().expect(OURS).to_string_lossy().into_owned();
            let fenced = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
            let whole = entry.extension().filter(|end| *end == "yaml").map(|_| text.as_str());
            for (number, block) in fenced.chain(whole).enumerate() {
                corpus.put("config", &format!("{name}-{number}"), block.as_bytes());
            }
        }
    }
    for entry in fs::read_dir(root.join("rules")).expect(OURS).flatten().map(|entry| entry.path()) {
        if entry.extension().is_some_and(|end| end == "yml") {
            let name = entry.file_stem().expect(OURS).to_string_lossy().into_owned();
            corpus.put("rules", &name, &fs::read(&entry).expect(OURS));
        }
    }
    let call = "GET /carts/{id} spiffe://mesh.example/ns/store/sa/courier store cart\n";
    for entry in fs::read_dir(root.join("crates/policy/tests/goldens")).expect(OURS).flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).expect(OURS);
        if text.len() <= 2 * SEED_BYTES_MAX {
            corpus.put("policies", &name, format!("{call}{text}").as_bytes());
        }
    }
    for entry in fs::read_dir(root.join("crates/query/tests/slt")).expect(OURS).flatten() {
        let name = entry.path().file_stem().expect(OURS).to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).expect(OURS);
        for (number, block) in text.split("\n\n").enumerate() {
            let asked = block.lines().skip_while(|line| line.starts_with('#'));
            let sql = asked.skip(1).take_while(|line| *line != "----").collect::<Vec<_>>().join("\n");
            if !sql.is_empty() {
                corpus.put("sql", &format!("{name}-{number}"), sql.as_bytes());
            }
        }
    }
    for (number, text) in FIELDS.iter().enumerate() {
        for signal in [0_u8, 4, 2, 6] {
            let input = [&[signal | 2 << 3], text.as_bytes()].concat();
            corpus.put("fields", &format!("{number}-{signal}"), &input);
        }
    }
}

/// The first byte of a line names the attribute: `fields.rs`.
const FIELDS: [&str; 8] = [
    "\0GET\n\x01/carts/17?x=1\n\x02http://cart.front:80/carts/9f86d081-884c-4d65-9a2f-eaa0c55ad015\n=GET /carts",
    "\x07By=spiffe://mesh.example/ns/store/sa/cart;Hash=0a;Subject=\"CN=a,O=b\";URI=spiffe://mesh.example/ns/store/sa/courier\n=ingress",
    "\x0boutbound|80||cart.front.svc.cluster.local\n\x0d10.0.0.7:8080\n\x0eunknown\n=router cart egress",
    "\x15TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED\n\x14TLSv1.3\n=x",
    "\x1a rbac_access_denied_matched_policy[ns[store]-policy[deny]-rule[0]]\n\x19403\n\x1bUAEX,DC\n=x",
    "\x1f00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\x1d12.5\n\x1e2026-11-24T20:31:16.123Z\n=x",
    "\x20sidecar~10.0.0.7~cart-0.front~front.svc.cluster.local\n\x21Cg0KB0NMVVNURVI=\n\x230\n=a.B/C",
    "=[2026-11-24T20:31:16.123Z] \"GET /carts/17 HTTP/1.1\" 200 - via_upstream - \"-\" 0 2 1 0 \"-\" \"curl\" \"id\" \"cart\" \"10.0.0.7:8080\"",
];

fn conversations(corpus: &Corpus) {
    let field = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).expect(OURS);
        [&[number << 3 | 2, length][..], content].concat()
    };
    let node = [field(1, b"cart.store"), field(2, b"cart.store")].concat();
    let kind = b"type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    let whole = [field(2, &node), field(3, b"selvedge-inbound"), field(4, kind)].concat();
    let delta = [field(1, &node), field(2, kind), field(3, b"selvedge-inbound"), field(4, b"other")].concat();
    for (number, (protocol, first)) in [(0, &whole), (1, &delta)].into_iter().enumerate() {
        for world in 0..4_u8 {
            let length = u16::try_from(first.len()).expect(OURS).to_le_bytes();
            let message = [&[0][..], &length, first].concat();
            let script =
                [&[protocol | world << 1][..], &message, &[4, 0x16, 5, 0x26, 7, 4, 0x36, 0x14], &message];
            corpus.put("xds", &format!("{number}-{world}"), &script.concat());
        }
    }
}
