//! The floor: receives, acknowledges and drops, with mimalloc as `plain` has it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    selvedge_benches::server::main_with_addresses(selvedge_benches::server::Yardstick::Floor)
}
