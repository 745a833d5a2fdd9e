//! The process: its allocator, and all the rest in the library beside it.

/// Batches are allocated and freed at the rate they arrive; this allocator halves what that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    selvedge::main()
}
