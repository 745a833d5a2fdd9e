//! The two yardsticks, over gRPC and over HTTP. *Plain* is what everyone writes first: a server that decodes into owned messages
//! and drops them. *Floor* is the same server without the decoding: what nobody gets below.

mod grpc;
mod http;

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// The size limit that the OTLP specification recommends, as `selvedge run` has it.
const MESSAGE_BYTES_MAX: usize = 20 << 20;

/// What a yardstick does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// Decodes it into owned messages and drops them.
    Plain,
    /// Drops its bytes.
    Floor,
}

/// Serves all three signals on one thread until the process is told to end: gRPC on the one address, HTTP on the other.
///
/// # Errors
/// When an address cannot be bound.
pub fn serve(yardstick: Yardstick, grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let http = TcpListener::bind(http).await?;
        tokio::try_join!(grpc::serve(yardstick, grpc), http::serve(yardstick, http))?;
        Ok(())
    })
}

/// Reads the two arguments of the server binaries, loopback addresses for gRPC and HTTP, and serves on them.
///
/// # Errors
/// When there are no such arguments, or an address cannot be bound.
pub fn main_with_addresses(yardstick: Yardstick) -> anyhow::Result<()> {
    serve(yardstick, address(1)?, address(2)?)
}

fn address(argument: usize) -> anyhow::Result<SocketAddr> {
    let text = std::env::args().nth(argument).unwrap_or_default();
    let address: SocketAddr = text.parse().map_err(|error| {
        anyhow::anyhow!("expected two times ADDRESS:PORT, for gRPC and HTTP, got {text:?}: {error}")
    })?;
    anyhow::ensure!(address.ip().is_loopback(), "the benchmark stays on loopback, not {address}");
    Ok(address)
}
