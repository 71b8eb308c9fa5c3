//! `sortie-server tei`, by the flags and variables of text-embeddings-inference, as a process of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::Duration,
};

/// The program with nothing but these variables.
fn program(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sortie-server"));
    // What the library is found by.
    let library = ["ORT_DYLIB_PATH", "HOME", "XDG_CACHE_HOME", "SORTIE_CACHE"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(library).envs(variables.iter().copied()).arg("tei").stdin(Stdio::null());
    command
}

/// What it says that it would serve with.
fn printed(variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let out = program(variables).args(flags).args(["--", "--print-config"]).output().unwrap();
    assert!(out.status.success(), "{variables:?} {flags:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn settings(variables: &[(&str, &str)], flags: &[&str]) -> toml::Table {
    String::from_utf8(printed(variables, flags).stdout).unwrap().parse().unwrap()
}

#[test]
fn each_variable_and_flag_is_a_setting() {
    for (variable, value, setting, wanted) in [
        ("TOKENIZATION_WORKERS", "3", "tokenize_threads", "3"),
        ("DTYPE", "float32", "precision", "f32"),
        ("MAX_CONCURRENT_REQUESTS", "7", "max_concurrent_requests", "7"),
        ("MAX_BATCH_TOKENS", "2048", "max_batch_tokens", "2048"),
        ("MAX_CLIENT_BATCH_SIZE", "64", "max_items", "64"),
        ("AUTO_TRUNCATE", "false", "http_truncate", "false"),
        ("HOSTNAME", "127.0.0.1", "http", "127.0.0.1:3000"),
        ("PORT", "80", "http", "0.0.0.0:80"),
        ("PAYLOAD_LIMIT", "2000000", "max_message_bytes", "2000000"),
        ("JSON_OUTPUT", "true", "log_format", "json"),
        ("OTLP_ENDPOINT", "http://127.0.0.1:4317", "otlp_endpoint", "http://127.0.0.1:4317"),
        ("PROMETHEUS_PORT", "9001", "admin", "0.0.0.0:9001"),
    ] {
        let flag = format!("--{}", variable.to_ascii_lowercase().replace('_', "-"));
        let by_flag = if value == "true" { vec![flag.as_str()] } else { vec![flag.as_str(), value] };
        for (variables, flags) in [(vec![(variable, value)], vec![]), (vec![], by_flag)] {
            let read = settings(&variables, &flags);
            let shown = read[setting].as_str().map_or_else(|| read[setting].to_string(), str::to_owned);
            assert_eq!(shown, wanted, "{variables:?} {flags:?}");
        }
    }
    assert_eq!(settings(&[("LOG_LEVEL", "WARN")], &[])["log_filter"].as_str(), Some("warn"));
    assert_eq!(settings(&[("PAYLOAD_LIMIT", "1000")], &[])["max_text_bytes"].as_integer(), Some(1000));
}

#[test]
fn a_model_has_its_revision_its_name_and_its_pooling() {
    let model = |variables: &[(&str, &str)]| settings(variables, &[])["model"][0].clone();
    let plain = model(&[("MODEL_ID", "org/repo")]);
    assert_eq!((plain["name"].as_str(), plain["path"].as_str()), (Some("org/repo"), Some("org/repo")));
    let all =
        [("MODEL_ID", "org/repo"), ("REVISION", "refs/pr/2"), ("SERVED_MODEL_NAME", "reranker"), ("POOLING", "cls")];
    let all = model(&all);
    assert_eq!((all["name"].as_str(), all["path"].as_str()), (Some("reranker"), Some("org/repo@refs/pr/2")));
    assert_eq!(all["pooling"].as_str(), Some("cls"));
}

#[test]
fn what_is_said_in_our_own_words_counts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sortie.toml");
    std::fs::write(&file, "max_items = 5\nmax_batch_tokens = 5\ntokenize_threads = 5\n").unwrap();
    let theirs =
        [("MAX_CLIENT_BATCH_SIZE", "1"), ("MAX_BATCH_TOKENS", "1"), ("TOKENIZATION_WORKERS", "1"), ("PORT", "1")];
    let ours = [("SORTIE_CONFIG", file.to_str().unwrap()), ("SORTIE_MAX_BATCH_TOKENS", "6"), ("MODEL_ID", "org/repo")];
    let mut command = program(&[theirs.as_slice(), &ours].concat());
    let out =
        command.args(["--", "--tokenize-threads", "7", "--model", "m=org/other", "--print-config"]).output().unwrap();
    let read: toml::Table = String::from_utf8(out.stdout).unwrap().parse().unwrap();
    let number = |name: &str| read[name].as_integer().unwrap();
    assert_eq!((number("max_items"), number("max_batch_tokens"), number("tokenize_threads")), (5, 6, 7));
    assert_eq!(read["http"].as_str(), Some("0.0.0.0:1"), "what nobody says in our words is as TEI's say");
    assert_eq!(read["model"][0]["name"].as_str(), Some("m"));
}

#[test]
fn what_changes_no_answer_is_passed_over_aloud() {
    for (variable, value) in [("MAX_BATCH_REQUESTS", "4"), ("UDS_PATH", "/tmp/x"), ("DISABLE_SPANS", "true")] {
        let said = String::from_utf8(printed(&[(variable, value)], &[]).stderr).unwrap();
        assert!(said.contains(&format!("{variable} (--")) && said.contains("passed over"), "{said}");
    }
    assert!(printed(&[("UDS_PATH", " ")], &[]).stderr.is_empty(), "blank is unset");
}

#[test]
fn what_would_change_an_answer_is_refused_by_name() {
    for (variable, value) in [
        ("DEFAULT_PROMPT_NAME", "query"),
        ("DEFAULT_PROMPT", "query: "),
        ("DENSE_PATH", "2_Dense_512"),
        ("CORS_ALLOW_ORIGIN", "*"),
        ("POOLING", "splade"),
        ("DTYPE", "int8"),
        // Processors have float32.
        ("DTYPE", "float16"),
        // It could be guessed.
        ("API_KEY", "short"),
    ] {
        let folder = crate::support::oracle("bert-rerank");
        let variables = [(variable, value), ("MODEL_ID", folder.to_str().unwrap()), ("SORTIE_LISTEN", "127.0.0.1:0")];
        let more = ["--hostname", "127.0.0.1", "--port", "0", "--prometheus-port", "0"];
        let out = program(&variables).args(more).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(!out.status.success() && said.contains(&format!("{variable} (--")), "{variable}: {said}");
    }
}

/// Both tokens reach the hub; the older one only where there is no other.
#[test]
fn the_hub_is_shown_the_token() {
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", hub.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().to_str().unwrap();
    for (variables, wanted) in [
        (vec![("HF_API_TOKEN", "old")], "old"),
        (vec![("HF_TOKEN", "new")], "new"),
        (vec![("HF_TOKEN", ""), ("HF_API_TOKEN", "old")], "old"),
    ] {
        let given = [
            ("MODEL_ID", "org/repo"),
            ("HF_ENDPOINT", &address),
            ("HUGGINGFACE_HUB_CACHE", cache),
            ("SORTIE_LISTEN", "127.0.0.1:0"),
        ];
        let mut command = program(&[variables.as_slice(), &given].concat());
        command.args(["--hostname", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let (mut stream, _) = hub.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (mut head, mut part) = (Vec::new(), [0; 1024]);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let n = stream.read(&mut part).unwrap();
            assert!(n > 0, "the hub's caller went away");
            head.extend_from_slice(&part[..n]);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains(&format!("authorization: bearer {wanted}\r\n")), "{head}");
    }
}

/// Offline it says where it looked; the hub's own variable beats TEI's.
#[test]
fn models_are_kept_where_it_is_said() {
    let failed = |variables: &[(&str, &str)]| {
        let given = [("MODEL_ID", "org/repo"), ("HF_HUB_OFFLINE", "1"), ("SORTIE_LISTEN", "127.0.0.1:0")];
        let mut command = program(&[variables, &given].concat());
        let out = command.args(["--hostname", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]).output().unwrap();
        String::from_utf8(out.stderr).unwrap()
    };
    let theirs = failed(&[("HUGGINGFACE_HUB_CACHE", "/nowhere/theirs")]);
    assert!(theirs.contains("under /nowhere/theirs"), "{theirs}");
    let own = failed(&[("HUGGINGFACE_HUB_CACHE", "/nowhere/theirs"), ("HF_HUB_CACHE", "/nowhere/own")]);
    assert!(own.contains("under /nowhere/own"), "{own}");
}

/// The whole of it: a folder served over HTTP, with a key, by a name, and its name in traces.
#[tokio::test]
async fn a_folder_is_served_as_tei_serves_it() {
    let dir = tempfile::tempdir().unwrap();
    let (http, addr) = (dir.path().join("http"), dir.path().join("addr"));
    let folder = crate::support::oracle("bert-rerank");
    let variables = [
        ("MODEL_ID", folder.to_str().unwrap()),
        ("SERVED_MODEL_NAME", "BAAI/bge-reranker-base"),
        ("API_KEY", "a key that is long enough"),
        ("OTLP_SERVICE_NAME", "search"),
        ("HOSTNAME", "127.0.0.1"),
        ("PORT", "0"),
        ("PROMETHEUS_PORT", "0"),
        ("SORTIE_LISTEN", "127.0.0.1:0"),
        ("SORTIE_HTTP_ADDR_FILE", http.to_str().unwrap()),
        ("SORTIE_ADDR_FILE", addr.to_str().unwrap()),
    ];
    let mut command = tokio::process::Command::from(program(&variables));
    let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let started = tokio::time::timeout(Duration::from_secs(60), async {
        while !addr.is_file() {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    started.await.unwrap();
    if let Some(status) = child.try_wait().unwrap() {
        let out = child.wait_with_output().await.unwrap();
        panic!("it ended ({status}): {}", String::from_utf8_lossy(&out.stderr));
    }
    let url = format!("http://{}", std::fs::read_to_string(&http).unwrap().trim());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = r#"{"query": "w49", "texts": ["w16 w122", "w7"]}"#;
    let post = || client.post(format!("{url}/rerank")).header("content-type", "application/json").body(body);
    assert_eq!(post().send().await.unwrap().status(), 401);
    let answer = post().bearer_auth("a key that is long enough").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let ranks: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(ranks.as_array().unwrap().len(), 2);
    let info = client.get(format!("{url}/info")).bearer_auth("a key that is long enough").send().await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.bytes().await.unwrap()).unwrap();
    assert_eq!(info["served_model_name"], "BAAI/bge-reranker-base");
    #[cfg(target_os = "linux")]
    {
        let environment = std::fs::read(format!("/proc/{}/environ", child.id().unwrap())).unwrap();
        assert!(environment.split(|byte| *byte == 0).any(|one| one == b"OTEL_SERVICE_NAME=search"));
    }
}
