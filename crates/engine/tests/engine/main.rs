//! The engine through its public face, on tiny oracles and on real models.

#![cfg(test)]

mod assemble;
mod device;
mod faults;
mod folders;
mod generic;
mod invariance;
mod layouts;
mod minilm;
mod oracle;
mod splade;
mod support;
