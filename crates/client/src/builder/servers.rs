//! Which servers a client has.

use super::ClientBuilder;
use crate::{discovery::Discovery, state::SubsetConfig};

impl ClientBuilder {
    /// Adds a server: `http://host:port`, `https://host:port`, or `host:port`, which is `https`
    /// where [`ClientBuilder::tls`] is set.
    pub fn endpoint(mut self, address: impl Into<String>) -> Self {
        self.endpoints.push(address.into());
        self
    }

    /// Adds several servers.
    pub fn endpoints<I>(mut self, addresses: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Adds the servers that a discovery finds, as it finds them.
    ///
    /// # Notes
    ///
    /// An address that several sources name is one server, and leaves with the source that named it
    /// first. Fixed endpoints never leave.
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.discoveries.push(discovery);
        self
    }

    /// Names this client among `clients` replicas of the same program, so that each uses a subset of the servers. Of a
    /// source with more than a hundred servers the client then connects to a subset, the same each time, chosen so that
    /// all clients together spread evenly over all servers. Without this setting every client connects to every server.
    ///
    /// ```
    /// # fn main() -> Result<(), sortie_client::Error> {
    /// let fleet = (0..1_000).map(|i| format!("http://10.0.{}.{}:50051", i / 250, i % 250));
    /// let client = sortie_client::Client::builder().endpoints(fleet).subset("search-api-7", 50).build()?;
    /// assert_eq!(client.endpoints().len(), 120);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Notes
    ///
    /// The name of the pod is a good name. The number of clients may be a rough one.
    pub fn subset(mut self, name: impl Into<String>, clients: usize) -> Self {
        self.subset = Some(SubsetConfig { name: name.into(), clients });
        self
    }
}
