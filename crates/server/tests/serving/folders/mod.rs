//! Folders as people publish them, over the wire, judged by what their own libraries answer.

mod causal;
mod labels;
mod late;
mod scores;
mod texts;
mod vectors;
mod windows;

use serde_json::Value;
use sortie_proto::v1::{self, Role};
use tempfile::TempDir;

use crate::support::{Client, Running, config, folder::assemble, serve_with, spec, text};

/// A server of folders of the oracle under their own names, a client of it, and their recorded answers.
async fn published<const N: usize>(names: [&str; N]) -> (Running, Client, [Value; N], Vec<TempDir>) {
    let folders: Vec<TempDir> = names.iter().map(|name| assemble(name)).collect();
    let mut config = config(&[]);
    config.models = names.iter().zip(&folders).map(|(name, folder)| spec(name, folder.path())).collect();
    let answers = std::array::from_fn(|i| {
        serde_json::from_slice(&std::fs::read(folders[i].path().join("expected.json")).unwrap()).unwrap()
    });
    let (server, client) = serve_with(config).await;
    (server, client, answers, folders)
}

fn texts(list: &Value) -> Vec<v1::Input> {
    list.as_array().unwrap().iter().map(|t| text(t.as_str().unwrap())).collect()
}

fn role(role: Role) -> Option<v1::TextOptions> {
    Some(v1::TextOptions { role: role.into(), ..Default::default() })
}

async fn describe(client: &mut Client, model: &str) -> v1::ModelInfo {
    client.get_model(v1::GetModelRequest { model: model.to_owned() }).await.unwrap().into_inner().model.unwrap()
}
