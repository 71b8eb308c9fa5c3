//! The handle: what a program holds, clones and calls. Its calls are methods in [`crate::rpc`] and [`crate::bulk`].

use std::{fmt, sync::Arc};

use crate::{state::ClientState, stats::Stats};

/// Calls encoder models on a fleet of servers.
///
/// Cheap to clone: clones share connections and what was learned of the servers. The last clone that
/// goes takes the connections and everything that runs in the background with it.
#[derive(Clone)]
pub struct Client {
    state: Arc<ClientState>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints())
            .field("model", &self.state.defaults().model)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(state: Arc<ClientState>) -> Self {
        Self { state }
    }

    pub(crate) fn state(&self) -> &Arc<ClientState> {
        &self.state
    }

    /// Addresses of the servers, each once, in the order they became known.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.state.servers().into_iter().map(|(_, server)| server.address().to_owned()).collect()
    }

    /// What was learned of the servers, as it stands now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let servers = self.state.servers();
        Stats::new(&servers, &self.state.fleet(), self.state.now())
    }
}
