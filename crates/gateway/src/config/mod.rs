//! Settings of the gateway: those of [`sortie_frontend`], flattened, and its own.

pub mod defaults;
mod settings;
mod validate;

pub use self::settings::GatewayConfig;

#[cfg(test)]
mod tests;
