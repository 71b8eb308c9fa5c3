//! Every default of the gateway's own settings, with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sortie_frontend::config::ConfigDuration;

/// Loopback, and beside the server's own port: a gateway may stand on the host of a server.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50050);

/// As the client has it: work that nobody set a deadline for must end too.
pub const DEFAULT_DEADLINE: ConfigDuration = ConfigDuration(sortie_client::DEFAULT_DEADLINE);

/// Late chunks go to another server as well, within the budget.
pub const HEDGING: bool = true;

/// How often servers are asked what they serve and how loaded they are. Two small calls a server; a model that was
/// loaded is listed, and a fleet that is gone is told, about as soon as a probe of Kubernetes would.
pub const REFRESH_INTERVAL: ConfigDuration = ConfigDuration::secs(1);

/// Nothing is kept: how often texts come again only the operator knows, and memory is theirs to give.
pub const CACHE_BYTES: u64 = 0;

/// Least size of a cache: a smaller one holds next to nothing, and was meant to be something else, megabytes say.
pub const MIN_CACHE_BYTES: u64 = 1 << 20;

/// One gateway: it connects to every server.
pub const GATEWAYS: usize = 1;
