//! What the tool does with wrong usage and without a server.

use std::{net::TcpListener, time::Instant};

use sortie_testkit::ClosedPort;

use crate::support::{self, sortie, sortie_reading};

#[test]
fn help_goes_to_standard_output_and_lists_the_exit_codes() {
    let run = sortie(&["--help"]);
    assert_eq!(run.code, Some(0));
    assert!(run.out.contains("Exit codes:") && run.err.is_empty(), "{run:?}");
    for command in ["rerank", "embed", "sparse", "classify", "tag", "similarity", "tokenize", "models", "probe"] {
        assert!(run.out.contains(&format!("  {command}")), "{command} is not in --help");
        let run = sortie(&[command, "--help"]);
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[test]
fn wrong_usage_is_two_and_one_line() {
    for (args, word) in [
        (&["rerank"][..], "<QUERY>"),
        (&["embed", "a", "--deadline", "10"], "--deadline"),
        (&["embed", "a", "--deadline", "0s"], "zero"),
        (&["embed", "a", "--tls-cert", "x.pem"], "--tls-key"),
        (&["embed", "a", "--prompt", "x", "--prompt-name", "y"], "--prompt"),
        (&["embed", "a", "--truncation", "middle"], "document-only"),
        (&["tag", "a", "--token-scores"], "--json"),
        (&["fly"], "fly"),
    ] {
        let run = sortie(args);
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.err.contains(word) && run.out.is_empty(), "{args:?}: {run:?}");
    }
    for (args, word) in [
        (&["embed"][..], "no texts to send"),
        (&["embed", "--file", "/nowhere.txt"], "/nowhere.txt: "),
        (&["classify", "--pair", "a"], "two by two"),
        (&["embed", "a", "--endpoint", "http://a b"], "http://a b"),
        (&["embed", "a", "--tls-ca", "/nowhere.pem"], "--tls-ca /nowhere.pem: "),
        (&["embed", "-", "--file", "-"], "once only"),
        (&["embed", "a", "--token-file", "/nowhere/token"], "--token-file /nowhere/token: "),
        (&["embed", "a", "--endpoint", "dns:///no port"], "no port"),
    ] {
        let run = sortie(args);
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.err.contains(word) && run.err.lines().count() == 1, "{args:?}: {run:?}");
    }
}

#[test]
fn bad_input_names_its_line() {
    let run = sortie_reading(&["embed"], b"fine\n\xff\n");
    assert_eq!(run.code, Some(2));
    assert_eq!(run.err, "error: standard input line 2: not valid UTF-8 at byte 0\n");
    let run = sortie_reading(&["embed", "--jsonl", "--field", "body"], b"{\"body\": \"a\"}\n{\"text\": \"b\"}\n");
    assert_eq!(run.err, "error: standard input line 2: no field `body`\n");
}

#[test]
fn nobody_there_is_three_and_says_where() {
    let nowhere = ClosedPort::new().unwrap();
    let endpoint = nowhere.address();
    for args in [&["embed", "a"][..], &["models"], &["probe"]] {
        let run = sortie(&[args, &["--endpoint", &endpoint, "--deadline", "5s"]].concat());
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.err.starts_with("error: ") && run.err.lines().count() == 1, "{run:?}");
        assert!(run.err.contains(&endpoint) && run.err.contains("--endpoint"), "{run:?}");
    }
}

#[test]
fn silence_is_three_for_nobody_there_has_said_a_word() {
    // Takes connections and never answers on one: the kernel does as much for a stopped process.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let started = Instant::now();
    let run = sortie(&["embed", "a", "--endpoint", &endpoint, "--deadline", "300ms"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.err.contains("no answer came") && run.err.contains("--endpoint"), "{run:?}");
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn the_token_is_never_printed() {
    let nowhere = ClosedPort::new().unwrap();
    let endpoint = nowhere.address();
    let mut command = support::command(&["embed", "a", "-vv", "--endpoint", &endpoint]);
    let output = command.env("SORTIE_TOKEN", "hunter2secret").output().unwrap();
    let shown = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&shown).contains("hunter2secret"));
    let help = support::command(&["--help"]).env("SORTIE_TOKEN", "hunter2secret").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("hunter2secret"));
}
