//! What the join can be told; every default has its reason beside it.

use std::time::Duration;

/// Ten seconds hold enough calls of a quiet edge to count, and are short enough to act on.
pub const WINDOW_LENGTH_DEFAULT: Duration = Duration::from_secs(10);
/// Proxies flush each second: measured from end of request to receipt, at most 1.03 s (`envoy.md` 3.4).
pub const WATERMARK_DELAY_DEFAULT: Duration = Duration::from_secs(1);
/// SDK exporters batch for 5 s and retry with back-off; half a minute covers a few retries.
pub const ALLOWED_LATENESS_DEFAULT: Duration = Duration::from_secs(30);
/// Twice the proxies' flush interval: an origin that missed two has nothing to send.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Clocks kept by NTP are milliseconds apart; ten seconds ahead is a broken or a lying clock.
pub const FUTURE_MAX_DEFAULT: Duration = Duration::from_secs(10);
/// The other side ends its view of a call a network trip later, by a clock that is some milliseconds off.
pub const PAIR_GRACE_DEFAULT: Duration = Duration::from_millis(500);
/// Some 600,000 open records: seconds of the heaviest traffic that one process takes.
pub const OPEN_BYTES_MAX_DEFAULT: usize = 256 << 20;
/// Twice what a mesh of 10,000 workloads with some callees each has. Only invented host names make more.
pub const TICK_EDGES_MAX_DEFAULT: usize = 1 << 16;
/// Records open in one group. Real traces have hundreds; ids can be chosen and reused by an attacker.
pub const GROUP_RECORDS_MAX_DEFAULT: usize = 4096;
/// Three signals of twenty thousand proxies.
pub const ORIGINS_MAX_DEFAULT: usize = 1 << 16;
/// Request ids, and trace ids, remembered: some 20 MB that stay near the cache; seven seconds of the heaviest traffic
/// (20,000 requests a second), minutes of ordinary traffic. Mates come within seconds.
pub const ALIASES_MAX_DEFAULT: usize = 1 << 18;
/// Identities of a large mesh, several times over.
pub const DIRECTORY_MAX_DEFAULT: usize = 1 << 16;
/// Some 300,000 counters, or the histograms of a large mesh.
pub const SERIES_BYTES_MAX_DEFAULT: usize = 64 << 20;

/// Configuration of the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinConfig {
    /// Length of the tumbling windows that calls are counted into.
    pub window_length: Duration,
    /// How far the watermark stays behind the origins' own frontiers: disorder inside one origin.
    pub watermark_delay: Duration,
    /// How far behind the watermark a record may end and still join a call that was counted.
    pub allowed_lateness: Duration,
    /// An origin that delivered nothing while the frontier moved this far is idle and holds nobody up.
    pub idle_timeout: Duration,
    /// How far past its arrival a record's end may lie and still move the frontier.
    pub future_max: Duration,
    /// How long past its end a call that one side reported waits for the other side.
    pub pair_grace: Duration,
    /// Bytes of open records and of the stubs of counted calls, all shards together.
    /// Past it: stubs are forgotten, then groups evicted (policy `oldest_group_first`). Looked at at each tick and
    /// every some thousand records, so that it strikes at the same records for any number of shards.
    pub open_bytes_max: usize,
    /// Edges and windows counted apart in one tick, all shards together; past it those whose names became known last are
    /// counted together (policy `pool_newest`).
    pub tick_edges_max: usize,
    /// Open records of one group; past it the group's new records are evicted (policy `group_full`).
    pub group_records_max: usize,
    /// Origins whose progress is tracked; past it new ones hold nobody up (policy `untracked`).
    pub origins_max: usize,
    /// Request and trace ids remembered; past it the older half is forgotten (policy `forget_older_half`).
    pub aliases_max: usize,
    /// Principals whose workload is remembered; past it new ones are not (policy `keep_first`).
    pub directory_max: usize,
    /// Bytes of metric series; past it new series are refused (policy `keep_known`).
    pub series_bytes_max: usize,
    /// Completed calls are handed out one by one beside their counts, for who keeps them.
    pub hand_out_calls: bool,
}

impl Default for JoinConfig {
    fn default() -> Self {
        Self {
            window_length: WINDOW_LENGTH_DEFAULT,
            watermark_delay: WATERMARK_DELAY_DEFAULT,
            allowed_lateness: ALLOWED_LATENESS_DEFAULT,
            idle_timeout: IDLE_TIMEOUT_DEFAULT,
            future_max: FUTURE_MAX_DEFAULT,
            pair_grace: PAIR_GRACE_DEFAULT,
            open_bytes_max: OPEN_BYTES_MAX_DEFAULT,
            tick_edges_max: TICK_EDGES_MAX_DEFAULT,
            group_records_max: GROUP_RECORDS_MAX_DEFAULT,
            origins_max: ORIGINS_MAX_DEFAULT,
            aliases_max: ALIASES_MAX_DEFAULT,
            directory_max: DIRECTORY_MAX_DEFAULT,
            series_bytes_max: SERIES_BYTES_MAX_DEFAULT,
            hand_out_calls: false,
        }
    }
}
