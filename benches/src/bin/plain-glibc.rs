//! The same server with the system's allocator: what people get who do not choose one.

fn main() -> anyhow::Result<()> {
    selvedge_benches::server::main_with_addresses(selvedge_benches::server::Yardstick::Plain)
}
