//! Long texts in windows, judged by the same windows sent as texts of their own.

use sortie_proto::v1::{self, WindowScore};

use super::published;
use crate::support::{
    bad,
    cases::{TOLERANCE, f32s},
    close, config, failed, ids, pair, refused, serve, serve_with, text,
};

fn words(from: usize, to: usize) -> String {
    (from..to).map(|i| format!("w{}", 10 + i * 7 % 150)).collect::<Vec<_>>().join(" ")
}

fn windows(stride: u32, score: WindowScore) -> Option<v1::Windows> {
    Some(v1::Windows { stride, score: score.into() })
}

fn limited(max_length: u32) -> Option<v1::TextOptions> {
    Some(v1::TextOptions { max_length, ..Default::default() })
}

/// Where windows of `room` words that share `stride` start and end in a text of `n` words.
fn places(n: usize, room: usize, stride: usize) -> Vec<(usize, usize)> {
    let mut places = vec![(0, n.min(room))];
    while places.last().unwrap().1 < n {
        let from = places.last().unwrap().1 - stride;
        places.push((from, n.min(from + room)));
    }
    places
}

#[tokio::test]
async fn a_long_document_has_the_score_of_its_windows() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    // 24 tokens less [CLS], [SEP], [SEP] and two of the query leave 19.
    let (room, stride) = (19, 4);
    let lengths = [100, 19, 20, 3, 57];
    let documents: Vec<_> = lengths.iter().map(|&n| text(words(0, n))).collect();
    for (by, activation) in [
        (WindowScore::Unspecified, v1::Activation::Raw),
        (WindowScore::Max, v1::Activation::Sigmoid),
        (WindowScore::First, v1::Activation::Raw),
        (WindowScore::Mean, v1::Activation::Sigmoid),
    ] {
        let ask = |documents, windows| v1::RerankRequest {
            query: Some(text("w5 w6")),
            documents,
            options: limited(24),
            activation: activation.into(),
            windows,
            ..Default::default()
        };
        let got = client.rerank(ask(documents.clone(), windows(stride as u32, by))).await.unwrap().into_inner();
        let items = got.items.unwrap();
        assert!(items.errors.is_empty() && !items.truncated.contains(&true), "{items:?}");
        for (at, &n) in lengths.iter().enumerate() {
            let places = places(n, room, stride);
            let alone = places.iter().map(|&(from, to)| text(words(from, to))).collect();
            let each = client.rerank(ask(alone, None)).await.unwrap().into_inner();
            let weights = places.iter().map(|(from, to)| (to - from) as f32);
            let want = match by {
                WindowScore::First => each.scores[0],
                WindowScore::Mean => {
                    let sum: f32 = each.scores.iter().zip(weights.clone()).map(|(score, weight)| score * weight).sum();
                    sum / weights.sum::<f32>()
                }
                _ => each.scores.iter().copied().reduce(f32::max).unwrap(),
            };
            close(&[got.scores[at]], &[want], TOLERANCE, "score");
            assert_eq!(items.windows[at] as usize, places.len(), "{n}");
            assert_eq!(items.tokens[at], each.items.unwrap().tokens.iter().sum::<u32>());
        }
    }
    // Without windows nothing is said of them.
    let request = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    assert!(client.rerank(request).await.unwrap().into_inner().items.unwrap().windows.is_empty());
}

#[tokio::test]
async fn ids_have_windows_too() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let all: Vec<u32> = (0..100).map(|i| 10 + i * 7 % 150).collect();
    let request = v1::RerankRequest {
        query: Some(text("w5 w6")),
        documents: vec![text(words(0, 100)), ids(&all, &[])],
        options: limited(24),
        windows: windows(4, WindowScore::Mean),
        ..Default::default()
    };
    let got = client.rerank(request).await.unwrap().into_inner();
    assert_eq!(got.scores[0], got.scores[1]);
    assert_eq!(got.items.unwrap().windows, [7, 7]);
}

#[tokio::test]
async fn a_long_text_has_the_mean_vector_of_its_windows() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let places = places(50, 14, 2);
    let mut ask = async |inputs, options: v1::TextOptions, windows, normalize| {
        let request = v1::EmbedRequest {
            inputs,
            options: Some(options),
            windows,
            normalize: Some(normalize),
            ..Default::default()
        };
        let got = client.embed(request).await.unwrap().into_inner();
        let rows = f32s(&got.vectors).chunks(got.dimensions as usize).map(<[f32]>::to_vec).collect::<Vec<_>>();
        (rows, got.items.unwrap())
    };
    let options = |max_length| v1::TextOptions { max_length, prompt: "w5 w6 ".to_owned(), ..Default::default() };
    for unit in [false, true] {
        // 18 tokens less [CLS], [SEP] and the prompt's two leave 14.
        let windows = windows(2, WindowScore::Unspecified);
        let (got, items) = ask(vec![text(words(0, 50)), text(words(0, 9))], options(18), windows, unit).await;
        let alone = places.iter().map(|&(from, to)| text(words(from, to))).collect();
        let (each, _) = ask(alone, options(18), None, unit).await;
        let mut mean = vec![0.0f32; each[0].len()];
        for (row, (from, to)) in each.iter().zip(&places) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * (to - from) as f32);
        }
        let total = places.iter().map(|(from, to)| to - from).sum::<usize>() as f32;
        mean.iter_mut().for_each(|x| *x /= total);
        if unit {
            let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
            mean.iter_mut().for_each(|x| *x /= length);
        }
        close(&got[0], &mean, TOLERANCE, "mean");
        assert_eq!(items.windows, [places.len() as u32, 1]);
        let (short, _) = ask(vec![text(words(0, 9))], options(0), None, unit).await;
        close(&got[1], &short[0], TOLERANCE, "a text that fits");
    }
}

#[tokio::test]
async fn models_that_compare_vectors_score_windows_too() {
    let (_server, mut client, _, _folders) = published(["pylate"]).await;
    let ask =
        |documents, windows| v1::RerankRequest { query: Some(text("w5 w6")), documents, windows, ..Default::default() };
    // Documents have at most 40 tokens: [CLS], the marker, [SEP] and 37 of the text.
    let long = client.rerank(ask(vec![text(words(0, 90))], windows(5, WindowScore::Max))).await.unwrap().into_inner();
    let alone: Vec<_> = places(90, 37, 5).iter().map(|&(from, to)| text(words(from, to))).collect();
    let count = alone.len();
    let each = client.rerank(ask(alone, None)).await.unwrap().into_inner();
    close(&long.scores, &[each.scores.iter().copied().reduce(f32::max).unwrap()], TOLERANCE, "maxsim");
    assert_eq!(long.items.unwrap().windows, [count as u32]);
}

#[tokio::test]
async fn texts_that_are_cut_at_their_beginning_have_windows_from_their_end() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let ask = |documents, windows, side: v1::TruncationSide| v1::RerankRequest {
        query: Some(text("w5 w6")),
        documents,
        options: Some(v1::TextOptions { max_length: 24, truncation_side: side.into(), ..Default::default() }),
        windows,
        ..Default::default()
    };
    let first = windows(4, WindowScore::First);
    let got = client.rerank(ask(vec![text(words(0, 50))], first, v1::TruncationSide::Left)).await.unwrap().into_inner();
    let last =
        client.rerank(ask(vec![text(words(31, 50))], None, v1::TruncationSide::Right)).await.unwrap().into_inner();
    close(&got.scores, &last.scores, TOLERANCE, "the last words are the first window");
}

#[tokio::test]
async fn windows_that_would_break_admission_are_refused_each_by_itself() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    // A token a byte, four times what is expected: the query leaves three tokens for the document in each window.
    let request = v1::RerankRequest {
        query: Some(text("!".repeat(18))),
        documents: vec![text("!".repeat(300)), text("w5")],
        options: limited(24),
        windows: windows(0, WindowScore::Max),
        ..Default::default()
    };
    let got = client.rerank(request).await.unwrap().into_inner();
    assert_eq!(failed(&got.items), [(0, "TOO_LONG_IN_WINDOWS")]);
    assert!(got.scores[1].is_finite());
}

#[tokio::test]
async fn windows_that_make_no_sense_are_refused_by_name() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let ask = |stride, options| v1::RerankRequest {
        query: Some(text("w5 w6")),
        documents: vec![text("w7"), pair("w8", "w9")],
        options,
        windows: windows(stride, WindowScore::Max),
        ..Default::default()
    };
    let answer = client.rerank(ask(3, None)).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(1, "UNSUPPORTED_INPUT")]);
    refused(client.rerank(ask(19, limited(24))).await, bad("BAD_FIELD", "windows.stride"), &["19"]);
    let options = Some(v1::TextOptions { truncation: v1::Truncation::LongestFirst.into(), ..Default::default() });
    refused(client.rerank(ask(3, options)).await, bad("BAD_FIELD", "options.truncation"), &["windows"]);
    let options = Some(v1::TextOptions { truncation: v1::Truncation::Error.into(), ..Default::default() });
    refused(client.rerank(ask(3, options)).await, bad("BAD_FIELD", "options.truncation"), &["windows"]);
    let mut odd = ask(3, None);
    odd.windows = Some(v1::Windows { stride: 1, score: 77 });
    refused(client.rerank(odd).await, bad("BAD_FIELD", "windows.score"), &["77"]);
    let (_server, mut client) = serve_with(config(&["bert-base"])).await;
    let request = v1::EmbedRequest {
        inputs: vec![text("w5"), ids(&[2, 5, 3], &[])],
        windows: windows(0, WindowScore::Max),
        ..Default::default()
    };
    refused(client.embed(request.clone()).await, bad("BAD_FIELD", "windows.score"), &["mean"]);
    let request = v1::EmbedRequest { windows: windows(0, WindowScore::Unspecified), ..request };
    let got = client.embed(request).await.unwrap().into_inner();
    assert_eq!(failed(&got.items), [(1, "UNSUPPORTED_INPUT")]);
}
