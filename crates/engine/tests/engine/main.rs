//! The engine through its public face, on tiny oracles and on real models.

#![cfg(test)]

mod archive;
mod assemble;
mod device;
mod experimental;
mod families;
mod faults;
mod folders;
mod generic;
mod gliner;
mod invariance;
mod layouts;
mod long;
mod minilm;
mod oracle;
mod precision;
mod reference;
mod splade;
mod support;
