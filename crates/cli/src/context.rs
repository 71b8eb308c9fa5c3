//! One run of the tool: the client, the runtime it lives on, and Ctrl-C.
//!
//! Invariant: inputs are read before the runtime starts, so that Ctrl-C ends a
//! blocked read the usual way; from then on it drops the jobs, which cancels
//! them in the servers' queues too.

use std::{fs, future::Future, path::Path};

use sortie_client::{Client, ClientBuilder, Discovery, Tls};

use crate::{
    args::{ConnectionArgs, OutputArgs},
    exit::{CommandFailure, Exit},
};

/// What an endpoint begins with whose name stands for all the addresses it has.
const DNS: &str = "dns:///";

/// What every command needs.
#[derive(Debug)]
pub(crate) struct CommandContext {
    builder: ClientBuilder,
    /// Where the servers are.
    pub(crate) connection: ConnectionArgs,
    /// What to print.
    pub(crate) output: OutputArgs,
}

impl CommandContext {
    /// Sets the client up; nothing is connected yet.
    pub(crate) fn new(connection: &ConnectionArgs, output: OutputArgs) -> Result<Self, CommandFailure> {
        let (names, addresses): (Vec<&str>, Vec<&str>) = endpoints(connection).partition(|e| e.starts_with(DNS));
        let mut builder = Client::builder()
            .endpoints(addresses)
            .model(&connection.model)
            .default_deadline(connection.deadline)
            .lane(connection.lane.into())
            .hedging(!connection.no_hedging)
            .user_agent(concat!("sortie-cli/", env!("CARGO_PKG_VERSION")));
        for name in names {
            builder = builder.discovery(Discovery::dns(name.trim_start_matches(DNS)));
        }
        if let Some(tenant) = &connection.tenant {
            builder = builder.tenant(tenant);
        }
        if let Some(path) = &connection.token_file {
            // A file that cannot be read is a mistake of the command line, known before anything is sent.
            token_of(path)?;
            builder = builder.bearer_token_file(path);
        } else if let Some(token) = &connection.token {
            builder = builder.bearer_token(token.reveal());
        }
        if let Some(tls) = tls(connection)? {
            builder = builder.tls(tls);
        }
        Ok(Self { builder, connection: connection.clone(), output })
    }

    /// The bearer token, where one is given.
    pub(crate) fn token(&self) -> Result<Option<String>, CommandFailure> {
        match (&self.connection.token_file, &self.connection.token) {
            (Some(path), _) => token_of(path).map(Some),
            (None, token) => Ok(token.as_ref().map(|token| token.reveal().to_owned())),
        }
    }

    /// Addresses of the servers.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &str> {
        endpoints(&self.connection)
    }

    /// A client to be made, for those that make several.
    pub(crate) fn builder(&self) -> ClientBuilder {
        self.builder.clone()
    }

    /// Says something on standard error, unless it shall be quiet.
    pub(crate) fn say(&self, what: &str) {
        if !self.output.quiet {
            eprintln!("{what}");
        }
    }

    /// Runs `work`, which makes its own clients.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T, CommandFailure>>) -> Result<T, CommandFailure> {
        block_on(work)
    }

    /// Runs `work` with a client that has asked its servers what they serve, so that the first job is well cut.
    pub(crate) fn connected<T, F>(&self, work: impl FnOnce(Client) -> F) -> Result<T, CommandFailure>
    where
        F: Future<Output = Result<T, CommandFailure>>,
    {
        let builder = self.builder.clone();
        block_on(async move { work(builder.connect().await?).await })
    }

    /// Runs `work` with a client that has asked nobody.
    pub(crate) fn unconnected<T, F>(&self, work: impl FnOnce(Client) -> F) -> Result<T, CommandFailure>
    where
        F: Future<Output = Result<T, CommandFailure>>,
    {
        let builder = self.builder.clone();
        block_on(async move { work(builder.build()?).await })
    }
}

fn endpoints(connection: &ConnectionArgs) -> impl Iterator<Item = &str> {
    connection.endpoint.iter().map(|endpoint| endpoint.trim()).filter(|e| !e.is_empty())
}

fn token_of(path: &Path) -> Result<String, CommandFailure> {
    let text = fs::read_to_string(path)
        .map_err(|error| CommandFailure::usage(format!("--token-file {}: {error}", path.display())))?;
    match text.trim() {
        "" => Err(CommandFailure::usage(format!("--token-file {}: is empty", path.display()))),
        token => Ok(token.to_owned()),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, CommandFailure>>) -> Result<T, CommandFailure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandFailure::new(Exit::Internal, format!("no runtime: {error}")))?;
    let answer = runtime.block_on(async {
        tokio::select! {
            answer = work => answer,
            _ = tokio::signal::ctrl_c() => Err(CommandFailure::new(Exit::Interrupted, "interrupted")),
        }
    });
    // A name that is still being looked up must not keep the tool.
    runtime.shutdown_background();
    answer
}

fn tls(connection: &ConnectionArgs) -> Result<Option<Tls>, CommandFailure> {
    let ConnectionArgs { tls_ca, tls_cert, tls_key, tls_domain, .. } = connection;
    if tls_ca.is_none() && tls_cert.is_none() && tls_domain.is_none() {
        return Ok(None);
    }
    let read = |flag: &str, path: &Path| {
        fs::read(path).map_err(|error| CommandFailure::usage(format!("{flag} {}: {error}", path.display())))
    };
    let mut tls = Tls::new();
    if let Some(path) = tls_ca {
        tls = tls.ca(read("--tls-ca", path)?);
    }
    if let Some(name) = tls_domain {
        tls = tls.domain(name);
    }
    if let (Some(certificate), Some(key)) = (tls_cert, tls_key) {
        tls = tls.identity(read("--tls-cert", certificate)?, read("--tls-key", key)?);
    }
    Ok(Some(tls))
}
