//! The gateway's settings: read, refused, documented.

use sortie_frontend::config::{Invocation, Settings as _, command, read};

use super::*;

fn serve(args: &[&str]) -> GatewayConfig {
    match read([&["sortie-gateway"], args].concat()).unwrap() {
        Invocation::Serve(config) => *config,
        Invocation::Print(text) => panic!("printed {text}"),
    }
}

#[test]
fn clap_accepts_the_definition() {
    command::<GatewayConfig>().unwrap().debug_assert();
}

#[test]
fn flags_and_files_lie_over_the_gateways_own_defaults() {
    let config = serve(&["--endpoint", "http://a:1,dns:///fleet:2", "--max-connections", "9"]);
    assert_eq!(config.endpoint, ["http://a:1", "dns:///fleet:2"]);
    assert_eq!((config.frontend.max_connections, config.frontend.listen), (9, defaults::LISTEN));
    let of_file = GatewayConfig::from_toml("endpoint = [\"a:1\"]\nhedging = false\n").unwrap();
    assert_eq!((of_file.frontend.listen, of_file.hedging), (defaults::LISTEN, false));
    let of_file = GatewayConfig::from_toml("listen = \"0.0.0.0:1\"\n").unwrap();
    assert_eq!(of_file.frontend.listen, "0.0.0.0:1".parse().unwrap());
}

#[test]
fn what_is_wrong_is_named() {
    for (args, field) in [
        (vec![], "endpoint"),
        (vec!["--endpoint", " "], "endpoint"),
        (vec!["--endpoint", "a:1", "--default-deadline", "0s"], "default_deadline"),
        (vec!["--endpoint", "a:1", "--refresh-interval", "0s"], "refresh_interval"),
        (vec!["--endpoint", "a:1", "--gateways", "0"], "gateways"),
        (vec!["--endpoint", "a:1", "--cache-bytes", "64"], "cache_bytes"),
        (vec!["--endpoint", "a:1", "--endpoint-tls-cert", "/c"], "endpoint_tls_cert"),
        (vec!["--endpoint", "a:1", "--tls-cert", "/c"], "tls_cert"),
    ] {
        let error = read::<GatewayConfig, _, _>([&["sortie-gateway"], args.as_slice()].concat()).unwrap_err();
        assert!(error.to_string().contains(field), "{args:?}: {error}");
    }
}

#[test]
fn every_setting_has_a_variable_of_its_name_and_a_row_in_a_document() {
    let own = include_str!("../../../../docs/gateway.md");
    let shared = include_str!("../../../../docs/configuration.md");
    let values = toml::Table::try_from(GatewayConfig::default()).unwrap();
    for arg in command::<GatewayConfig>().unwrap().get_arguments() {
        let id = arg.get_id().as_str();
        if ["help", "version", "print_config", "config"].contains(&id) {
            continue;
        }
        let variable = format!("SORTIE_{}", id.to_uppercase());
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(variable.as_str()), "{id}");
        let row_of = |text: &'static str| text.lines().find(|line| line.starts_with(&format!("| `{id}` |")));
        let row = row_of(own).or_else(|| row_of(shared)).unwrap_or_else(|| panic!("no row for {id}"));
        assert!(row.contains(&format!("`{variable}`")), "{row}");
        let value = values.get(id).filter(|value| !value.is_array());
        let shown = value.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default();
        assert!(shown.is_empty() || row.contains(&format!("| `{shown}` |")), "{row} should say {shown}");
    }
}
