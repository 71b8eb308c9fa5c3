//! Generated types of the `sortie.v1` contract, its gRPC client and server
//! traits, the descriptors that reflection serves, and the little that both ends must do alike: names of metadata and of
//! status codes, the load report's ORCA form, the order of scores.

#![forbid(unsafe_code)]
// Generated code documents what the .proto files document, and no more.
#![allow(missing_docs, clippy::all)]

pub mod code;
pub mod codec;
pub mod load;
pub mod ranking;

/// The `sortie.v1` package.
pub mod v1 {
    tonic::include_proto!("sortie.v1");
}

/// The services that clients of Text Embeddings Inference call, and their descriptors.
#[cfg(feature = "tei")]
pub mod tei {
    tonic::include_proto!("tei.v1");

    /// Encoded `FileDescriptorSet` of `tei/v1/tei.proto`, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tei_descriptors.bin"));
}

/// The Open Request Cost Aggregation message and service (gRFC A51).
pub mod orca {
    pub use self::xds::{data::orca::v3::OrcaLoadReport, service::orca::v3::*};

    /// The packages as they are nested, which generated code relies on.
    #[expect(unreachable_pub, reason = "generated for a crate root")]
    mod xds {
        pub mod data {
            pub mod orca {
                pub mod v3 {
                    tonic::include_proto!("xds.data.orca.v3");
                }
            }
        }
        pub mod service {
            pub mod orca {
                pub mod v3 {
                    tonic::include_proto!("xds.service.orca.v3");
                }
            }
        }
    }
}

/// Encoded `FileDescriptorSet` of every file above, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Names of request metadata and trailers.
pub mod metadata {
    /// Id shared by every chunk of a job.
    pub const JOB_ID: &str = "sortie-job-id";
    /// Which try of a chunk this is, from 1.
    pub const ATTEMPT: &str = "sortie-attempt";
    /// `true` on a later attempt where every earlier one is lost (it failed, or its server does not run): nobody else
    /// works on the chunk, so it waits with first attempts and not behind them.
    pub const RESCUE: &str = "sortie-rescue";
    /// The model that is asked, as in the message: a server that would refuse it says so before it reads the message.
    pub const MODEL: &str = "sortie-model";
    /// About how many tokens the request has: a server that has no time for them says so before it reads the message.
    pub const TOKENS: &str = "sortie-tokens";
    /// The work that those tokens are, by the model's `doubling_length`; as many as the tokens if absent.
    pub const WORK: &str = "sortie-work";
    /// `interactive` or `bulk`.
    pub const LANE: &str = "sortie-lane";
    /// Who pays for the work.
    pub const TENANT: &str = "sortie-tenant";
    /// Key of `ErrorInfo.metadata` on refusals for time: milliseconds that work ahead of the refused takes.
    pub const QUEUE_FACT: &str = "queue_ms";
    /// gRFC A51 load report, binary.
    pub const ORCA: &str = "endpoint-load-metrics-bin";
    /// gRFC A6 server pushback, milliseconds. Negative: this server will not take the request, however long one waits.
    pub const PUSHBACK: &str = "grpc-retry-pushback-ms";
}
