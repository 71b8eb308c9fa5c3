//! Precedence, validation and printing of the configuration.

use sortie_frontend::config::{command, defaults as shared};

use super::*;

fn serve(args: &[&str]) -> ServerConfig {
    let all = [&["sortie-server"], args].concat();
    match read(all).unwrap() {
        Invocation::Serve(config) => *config,
        Invocation::Print(text) => panic!("printed {text}"),
    }
}

fn refused(args: &[&str]) -> String {
    read([&["sortie-server"], args].concat()).unwrap_err().to_string()
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sortie.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn clap_accepts_the_definition() {
    command::<ServerConfig>().unwrap().debug_assert();
}

#[test]
fn defaults_fill_what_is_not_given() {
    let c = serve(&["--model", "m=/x"]);
    assert_eq!(c, ServerConfig { models: c.models.clone(), ..ServerConfig::default() });
    assert_eq!(c.frontend.listen, shared::LISTEN);
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let (_dir, path) =
        file("threads = 3\nmax_items = 7\nhealth = false\n[[model]]\npath = \"/x/minilm\"\nmax_length = 64\n");
    let c = serve(&["--config", &path, "--threads", "5"]);
    assert_eq!((c.threads, c.max_items, c.frontend.health, c.frontend.reflection), (5, 7, false, true));
    assert_eq!((c.models[0].name.as_str(), c.models[0].max_length), ("minilm", Some(64)));
}

#[test]
fn models_of_flags_replace_those_of_the_file() {
    let (_dir, path) = file("[[model]]\nname = \"a\"\npath = \"/x\"\n");
    let c = serve(&["--config", &path, "--model", "b=/y", "--model", "c=/z"]);
    assert_eq!(c.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn every_setting_has_an_environment_variable_of_its_name() {
    for arg in command::<ServerConfig>().unwrap().get_arguments() {
        let id = arg.get_id().as_str();
        if ["help", "version", "print_config"].contains(&id) {
            continue;
        }
        let expected = format!("SORTIE_{}", id.to_uppercase());
        assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(expected.as_str()), "{id}");
    }
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let args = ["sortie-server", "--print-config", "--model", "m=/x,pooling=cls", "--reflection=false", "--threads=2"];
    let Invocation::Print(text) = read(args).unwrap() else { panic!("not printed") };
    let (_dir, path) = file(&text);
    let c = serve(&["--config", &path]);
    assert_eq!((c.threads, c.frontend.reflection, c.models[0].pooling), (2, false, Some(PoolingName::Cls)));
}

#[test]
fn help_shows_defaults() {
    let Invocation::Print(text) = read(["sortie-server", "--help"]).unwrap() else { panic!("not printed") };
    assert!(text.contains(&format!("[default: {}]", defaults::MAX_BATCH_TOKENS)), "{text}");
    assert!(text.contains("SORTIE_MAX_ITEMS"), "{text}");
}

#[test]
fn a_batch_is_as_large_as_suits_the_device_unless_it_is_set() {
    let model = |args: &[&str], parameters: Option<u64>| {
        let c = serve(args);
        c.batch_tokens(&c.devices().unwrap(), parameters)
    };
    let tokens = |args: &[&str]| model(args, None);
    assert_eq!(tokens(&["--model", "m=/x"]), defaults::CPU_BATCH_TOKENS);
    assert_eq!(tokens(&["--model", "m=/x", "--device", "cuda:1"]), defaults::GPU_BATCH_TOKENS);
    assert_eq!(tokens(&["--model", "m=/x", "--device", "cuda:all"]), defaults::GPU_BATCH_TOKENS);
    assert_eq!(tokens(&["--model", "m=/x", "--device", "cuda:0", "--max-batch-tokens", "99"]), 99);
    let (gpu, small) = (["--model", "m=/x", "--device", "cuda:0"], Some(10_616_832));
    assert_eq!(model(&gpu, small), defaults::SMALL_MODEL_BATCH_TOKENS);
    assert_eq!(model(&gpu, Some(84_934_656)), defaults::GPU_BATCH_TOKENS);
    assert_eq!(model(&["--model", "m=/x"], small), defaults::CPU_BATCH_TOKENS);
}

#[test]
fn the_field_that_is_wrong_is_named() {
    for (args, field) in [
        (vec!["--max-items", "0"], "max_items"),
        (vec!["--device", "tpu"], "device"),
        (vec!["--device", "cpu,cpu"], "device"),
        (vec!["--precision", "fp8"], "precision"),
        (vec!["--gelu", "tanh"], "gelu"),
        (vec!["--max-message-bytes", "99999999999"], "max_message_bytes"),
        (vec!["--max-message-bytes", "10"], "max_text_bytes"),
        (vec!["--max-vector-bytes", "1000000"], "max_vector_bytes"),
        (vec!["--max-queue-tokens", "10"], "max_queue_tokens"),
        (vec!["--model", "a=/x", "--model", "a=/y"], "model[1]"),
        (vec!["--listen", "nowhere"], "--listen"),
        (vec!["--tls-cert", "/c"], "tls_cert"),
        (vec!["--tls-client-ca", "/c"], "tls_client_ca"),
        (vec!["--admin-models"], "admin_models"),
        (vec!["--admin-models", "--admin", "0.0.0.0:9090"], "admin_keys"),
        (vec!["--reload-interval", "0s"], "reload_interval"),
        (vec!["--drain-grace", "5"], "--drain-grace"),
        (vec![], "model"),
    ] {
        assert!(refused(&args).contains(field), "{args:?}: {}", refused(&args));
    }
}

#[test]
fn an_unknown_key_of_the_file_is_named_with_the_file() {
    let (_dir, path) = file("thread = 3\n");
    let error = refused(&["--config", &path]);
    assert!(error.contains("thread") && error.contains("sortie.toml"), "{error}");
}

#[test]
fn the_document_has_a_row_for_every_setting_with_its_default() {
    let document = include_str!("../../../../docs/configuration.md");
    let defaults = toml::Table::try_from(ServerConfig::default()).unwrap();
    for arg in command::<ServerConfig>().unwrap().get_arguments() {
        let id = arg.get_id().as_str();
        if ["help", "version", "print_config", "config"].contains(&id) {
            continue;
        }
        let name = if id == "models" { "model" } else { id };
        let row = document
            .lines()
            .find(|l| l.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("no row for {name}"));
        assert!(row.contains(&format!("`SORTIE_{}`", id.to_uppercase())), "{row}");
        let default = defaults.get(id).filter(|v| !v.is_array());
        let shown = default.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default();
        assert!(shown.is_empty() || row.contains(&format!("| `{shown}` |")), "{row} should say {shown}");
    }
}
