//! Causal language models that score pairs by the logits of a token or two, against sentence-transformers' own answers.

use serde::Deserialize;
use serde_json::{Value, json};
use sortie_engine::{Activation, EncodeOptions, Model, Sequence, Task, Want, activate};

use super::{CLOSE, expected, numbers, open, refused, run, write};
use crate::support::{assemble, close, edit};

#[derive(Deserialize)]
struct Scored {
    query: String,
    documents: Vec<String>,
    raw: Vec<f32>,
    default: Vec<f32>,
    with_instruction: Instructed,
}

#[derive(Deserialize)]
struct Instructed {
    prompt: String,
    raw: Vec<f32>,
}

const FOLDERS: [&str; 2] = ["ce-logit-yes", "ce-logit-yes-no"];

fn pairs(model: &Model, want: &Scored, instruction: &str) -> Vec<Sequence> {
    let options = EncodeOptions::default();
    let pair =
        |document: &String| model.tokenizer().encode_pair_after(instruction, &want.query, document, &options).unwrap();
    want.documents.iter().map(pair).collect()
}

fn scores(model: &Model, pairs: Vec<Sequence>) -> Vec<f32> {
    run(model, pairs, Want::Logits).iter().flat_map(numbers).collect()
}

#[test]
fn logits_are_the_score_of_a_pair() {
    for name in FOLDERS {
        let folder = assemble(name);
        let model = open(folder.path());
        let want: Scored = expected(folder.path(), "expected.json");
        let Task::SequenceClassification { labels, .. } = &model.info().task else { panic!("{:?}", model.info().task) };
        assert_eq!(labels.len(), 1, "{name}");
        let mut got = scores(&model, pairs(&model, &want, ""));
        close(&got, &want.raw, CLOSE, name);
        let activation = model.info().activation.as_ref().unwrap().activation.unwrap();
        assert_eq!(activation, Activation::Sigmoid, "{name}");
        activate(&mut got, 1, activation);
        close(&got, &want.default, CLOSE, name);
        let instructed = pairs(&model, &want, &want.with_instruction.prompt);
        close(&scores(&model, instructed), &want.with_instruction.raw, CLOSE, name);
    }
}

#[test]
fn an_untied_head_and_a_pad_at_the_end() {
    // A head of its own that is the word table again gives the same, and a frame may end in the pad token.
    let folder = assemble("ce-logit-yes-no");
    let want: Scored = expected(folder.path(), "expected.json");
    let template = folder.path().join("chat_template.jinja");
    edit(&template, " <|im_end|> w63", " <|im_end|> w63<|endoftext|>");
    let model = open(folder.path());
    let ids = pairs(&model, &want, "")[0].ids.clone();
    assert_eq!(ids.last(), Some(&0));
    let padded = scores(&model, pairs(&model, &want, ""));
    assert!(padded.iter().zip(&want.raw).any(|(a, b)| (a - b).abs() > 0.01), "the pad is read as any other token");
    let config = folder.path().join("config.json");
    edit(&config, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert!(refused(folder.path()).contains("tie_word_embeddings"));
}

#[test]
fn one_token_and_two_tokens() {
    // What two tokens give is what each gives alone, one taken off the other.
    let folder = assemble("ce-logit-yes-no");
    let want: Scored = expected(folder.path(), "expected.json");
    let of = |true_token: u32| {
        let folder = assemble("ce-logit-yes-no");
        write(folder.path(), "1_LogitScore/config.json", &json!({"true_token_id": true_token}));
        let model = open(folder.path());
        scores(&model, pairs(&model, &want, ""))
    };
    let distances: Vec<f32> = of(4).iter().zip(of(5)).map(|(yes, no)| yes - no).collect();
    close(&distances, &want.raw, CLOSE, "yes less no");
}

#[test]
fn where_a_template_stands() {
    let folder = assemble("ce-logit-yes-no");
    let want: Scored = expected(folder.path(), "expected.json");
    let own = folder.path().join("chat_template.jinja");
    let source = std::fs::read_to_string(&own).unwrap();
    std::fs::remove_file(own).unwrap();
    let path = folder.path().join("tokenizer_config.json");
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let several = json!([{"name": "tool_use", "template": "x"}, {"name": "default", "template": source}]);
    for template in [json!(source), several] {
        settings["chat_template"] = template;
        write(folder.path(), "tokenizer_config.json", &settings);
        let model = open(folder.path());
        close(&scores(&model, pairs(&model, &want, "")), &want.raw, CLOSE, "in the settings");
    }
    settings["chat_template"] = json!([{"name": "tool_use", "template": "x"}]);
    write(folder.path(), "tokenizer_config.json", &settings);
    let error = refused(folder.path());
    assert!(error.contains("tool_use") && error.contains("default"), "{error}");
}

#[test]
fn what_a_folder_says_of_its_template() {
    let settings = |more: Value| {
        let folder = assemble("ce-logit-yes-no");
        let path = folder.path().join("sentence_bert_config.json");
        let mut said: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        said["processing_kwargs"] = more;
        write(folder.path(), "sentence_bert_config.json", &said);
        folder
    };
    // A variable of the template, and a length.
    let folder = settings(json!({"chat_template": {"word": "w77", "max_length": 24, "restore_suffix": true}}));
    edit(&folder.path().join("chat_template.jinja"), "<|im_start|> w60", "<|im_start|> {{ word }}");
    let model = open(folder.path());
    assert_eq!(model.info().max_length, 24);
    let options = EncodeOptions::default();
    let ids = model.tokenizer().encode_pair("w30", &"w31 ".repeat(20_000), &options).unwrap();
    assert_eq!((ids.ids[1], ids.len(), ids.truncated), (77, 24, true));
    assert_eq!(ids.ids[22..], [2, 63]);
    for (more, word) in [
        (json!({"chat_template": {"restore_suffix": false}}), "restore_suffix"),
        (json!({"chat_template": {"tools": [{}]}}), "tools"),
        (json!({"chat_template": {"chat_template": "x"}}), "chat_template.chat_template"),
        (json!({"text": {"truncation": false}}), "truncation"),
    ] {
        let error = refused(settings(more).path());
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let spoilt = |file: &str, from: &str, to: &str| {
        let folder = assemble("ce-logit-yes-no");
        edit(&folder.path().join(file), from, to);
        refused(folder.path())
    };
    for (file, from, to, word) in [
        ("1_LogitScore/config.json", "\"true_token_id\": 4", "\"true_token_id\": 300", "true_token_id is 300"),
        ("1_LogitScore/config.json", "\"true_token_id\": 4,", "", "true_token_id is missing"),
        ("1_LogitScore/config.json", "causal_logits", "scores", "module_input_name"),
        ("1_LogitScore/config.json", "\"module_input_name\"", "\"scale\": 2, \"module_input_name\"", "scale"),
        ("sentence_bert_config.json", "\"causal_logits\"", "\"token_embeddings\"", "module_output_name"),
        ("sentence_bert_config.json", "\"flat\"", "\"other\"", "modality_config.message"),
        ("config.json", "Qwen3ForCausalLM", "Qwen3Model", "ForCausalLM"),
        ("tokenizer_config.json", "\"model_max_length\": 512", "\"model_max_length\": 8", "longest sequence is 8"),
        (
            "tokenizer_config.json",
            "\"model_max_length\"",
            "\"truncation_side\": \"left\", \"model_max_length\"",
            "left",
        ),
    ] {
        let error = spoilt(file, from, to);
        assert!(error.contains(word), "{word}: {error}");
    }
    // A default prompt that the template has no place for.
    let folder = assemble("ce-logit-yes-no");
    let library = folder.path().join("config_sentence_transformers.json");
    edit(&library, "\"default_prompt_name\": null", "\"default_prompt_name\": \"a\"");
    edit(&library, "\"prompts\": {}", "\"prompts\": {\"a\": \"w70\"}");
    assert_eq!(open(folder.path()).info().prompt_of(None), Some("w70"));
    let bare = "w60 {{ messages[-2].content }} w62 {{ messages[-1].content }} w63";
    std::fs::write(folder.path().join("chat_template.jinja"), bare).unwrap();
    let error = refused(folder.path());
    assert!(error.contains("system message") && error.contains("w70"), "{error}");
}
