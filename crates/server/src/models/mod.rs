//! The models of this process, by name. Those of the configuration are loaded
//! before anything is served; the first that fails ends the start with its name
//! and file. Later ones come and go through [`life`].

mod error;
mod facts;
mod life;
mod loading;
mod registry;
mod reserved;
mod served;
mod warm_up;

pub use self::error::StartupError;
pub(crate) use self::{
    facts::proto_activation,
    life::{ChangeError, ModelChange},
    loading::{folder_options, locate},
    registry::Registry,
    served::Served,
};
