//! The yardstick: the plain tonic server with mimalloc, the allocator that `selvedge` uses too.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    selvedge_benches::server::main_with_addresses(selvedge_benches::server::Yardstick::Plain)
}
