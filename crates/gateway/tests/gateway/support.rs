//! Shared by the gateway's tests: a real gateway on a free loopback port, and messages for it.

use std::{net::SocketAddr, time::Duration};

use sortie_frontend::config::ConfigDuration;
use sortie_gateway::{GatewayConfig, GatewayExit};
use sortie_proto::v1::{self, Input, encoder_service_client::EncoderServiceClient, input::Kind};
use sortie_testkit::TestServer;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::Instant};
use tonic::transport::Channel;

pub(crate) type Stub = EncoderServiceClient<Channel>;

/// A gateway that runs in this process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) task: JoinHandle<Result<(), GatewayExit>>,
    stop: Option<oneshot::Sender<()>>,
}

/// Scripted servers.
pub(crate) async fn fleet(count: usize) -> Vec<TestServer> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(TestServer::start().await.unwrap());
    }
    servers
}

/// A gateway to these servers that hedges nothing, so that nothing is late however busy the machine.
pub(crate) fn config(servers: &[TestServer]) -> GatewayConfig {
    let mut config = GatewayConfig {
        endpoint: servers.iter().map(TestServer::address).collect(),
        hedging: false,
        refresh_interval: ConfigDuration::millis(50),
        ..GatewayConfig::default()
    };
    config.frontend.replica = "g1".to_owned();
    config
}

impl Running {
    /// Starts it; it accepts, whether its servers answer or not.
    pub(crate) async fn start(config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(sortie_gateway::serve(listener, config, async {
            let _ = stopped.await;
        }));
        Self { address, task, stop: Some(stop) }
    }

    /// Starts it and waits until it knows its fleet.
    pub(crate) async fn ready(config: GatewayConfig) -> (Self, Stub) {
        let mut running = Self::start(config).await;
        let mut stub = running.stub().await;
        until(async || stub.list_models(v1::ListModelsRequest {}).await.is_ok_and(|l| !l.get_ref().models.is_empty()))
            .await;
        assert!(!running.task.is_finished(), "{:?}", (&mut running.task).await);
        (running, stub)
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn stub(&self) -> Stub {
        Stub::new(self.channel().await)
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }
}

/// Waits until something holds that comes about in the background. It fails rather than wait for ever.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < limit, "it never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn text(text: impl Into<String>) -> Input {
    Input { kind: Some(Kind::Text(text.into())) }
}

pub(crate) fn inputs(texts: &[String]) -> Vec<Input> {
    texts.iter().map(|t| text(t.as_str())).collect()
}

pub(crate) fn rerank(documents: &[String]) -> v1::RerankRequest {
    v1::RerankRequest { query: Some(text("a query")), documents: inputs(documents), ..v1::RerankRequest::default() }
}
