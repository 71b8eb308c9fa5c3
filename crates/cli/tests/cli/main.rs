//! Black-box tests of the built binary.

#[cfg(test)]
mod support;
#[cfg(test)]
mod usage;
