//! Reading of settings that are shared, by a program that has one of its own.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::*;

/// A program with one setting of its own.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
struct Own {
    #[command(flatten)]
    #[serde(flatten)]
    frontend: FrontendConfig,
    /// Its own
    #[arg(long, env = "SORTIE_OWN")]
    own: u32,
}

impl Settings for Own {
    const PROGRAM: &'static str = "own";
    const ABOUT: &'static str = "a program of this test";

    fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        Ok(Self { frontend: toml::from_str(text)?, ..toml::from_str(text)? })
    }

    fn validate(&mut self) -> Result<(), ConfigError> {
        self.frontend.validate()
    }
}

fn of_file(text: &str, args: &[&str]) -> Result<Own, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.toml");
    std::fs::write(&path, text).unwrap();
    let line = [&["own", "--config", path.to_str().unwrap()], args].concat();
    match read(line).map_err(|e| e.to_string())? {
        Invocation::Serve(settings) => Ok(*settings),
        Invocation::Print(text) => Err(text),
    }
}

#[test]
fn shared_and_own_settings_lie_side_by_side_in_one_file_and_flags_beat_them() {
    let text = "own = 3\nmax_connections = 7\ndrain_grace = \"2s\"\n";
    let read = of_file(text, &["--max-connections", "9"]).unwrap();
    assert_eq!((read.own, read.frontend.max_connections), (3, 9));
    assert_eq!(read.frontend.drain_grace, ConfigDuration::secs(2));
    let printed = of_file(text, &["--print-config"]).unwrap_err();
    assert_eq!(of_file(&printed, &["--max-connections", "9"]).unwrap(), read);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    for (text, said) in [
        ("own = 3\nmax_conections = 7\n", vec!["own.toml", "line 2", "max_conections"]),
        ("own = 3\nmax_connections = \"many\"\n", vec!["own.toml", "line 2", "max_connections"]),
        ("own = -1\n", vec!["own.toml", "line 1", "own = -1"]),
        ("own = = 1\n", vec!["own.toml", "line 1"]),
    ] {
        let error = of_file(text, &[]).unwrap_err();
        for word in said {
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

#[test]
fn the_shared_field_that_is_wrong_is_named() {
    for (text, field) in [
        ("max_connections = 0", "max_connections"),
        ("max_message_bytes = 99999999999", "max_message_bytes"),
        ("max_connection_bytes = 1", "max_connection_bytes"),
        ("tls_cert = \"/c\"", "tls_cert"),
        ("tls_client_ca = \"/c\"", "tls_client_ca"),
        ("reload_interval = \"0s\"", "reload_interval"),
        ("replica = \"a\\u0007\"", "replica"),
    ] {
        let error = of_file(text, &[]).unwrap_err();
        assert!(error.starts_with(field), "{text}: {error}");
    }
}
