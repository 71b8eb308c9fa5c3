//! Dense vectors in the formats of stores.

use sortie_proto::v1;

use super::{published, texts};
use crate::support::{
    bad,
    cases::{TOLERANCE, numbers},
    close, refused,
};

#[tokio::test]
async fn vectors_come_in_bytes_and_bits_by_the_formulas_of_stores() {
    let (_server, mut client, [answer], _folders) = published(["static-st"]).await;
    let rows: Vec<Vec<f32>> = answer["vectors"].as_array().unwrap().iter().map(numbers).collect();
    let ask = |format: v1::VectorFormat, ranges| v1::EmbedRequest {
        inputs: texts(&answer["texts"]),
        format: format.into(),
        ranges,
        ..Default::default()
    };
    let width = rows[0].len();
    let bound = |pick: fn(f32, f32) -> f32| -> Vec<f32> {
        (0..width).map(|d| rows.iter().map(|row| row[d]).reduce(pick).unwrap()).collect()
    };
    let own = v1::Ranges { starts: bound(f32::min), ends: bound(f32::max) };
    let wide = v1::Ranges { starts: vec![-1.0; width], ends: vec![1.0; width] };
    for (sent, used) in [(None, own), (Some(wide.clone()), wide)] {
        let unsigned = client.embed(ask(v1::VectorFormat::Uint8, sent.clone())).await.unwrap().into_inner();
        let signed = client.embed(ask(v1::VectorFormat::Int8, sent)).await.unwrap().into_inner();
        let back = unsigned.ranges.unwrap();
        close(&back.starts, &used.starts, TOLERANCE, "starts");
        close(&back.ends, &used.ends, TOLERANCE, "ends");
        assert_eq!((unsigned.vectors.len(), unsigned.dimensions as usize), (rows.len() * width, width));
        for (place, (&byte, &other)) in unsigned.vectors.iter().zip(&signed.vectors).enumerate() {
            let (row, d) = (place / width, place % width);
            let step = (back.ends[d] - back.starts[d]) / 255.0;
            let step = if step == 0.0 { 1.0 } else { step };
            let want = ((rows[row][d] - back.starts[d]) / step).floor().clamp(0.0, 255.0);
            // The oracle prints six digits: a number at the edge of a step may fall on its other side.
            assert!((f32::from(byte) - want).abs() <= 1.0, "{row}, {d}: {byte}, not {want}");
            assert_eq!(i16::from(other as i8), i16::from(byte) - 128);
        }
    }
    let unsigned = client.embed(ask(v1::VectorFormat::Ubinary, None)).await.unwrap().into_inner();
    let signed = client.embed(ask(v1::VectorFormat::Binary, None)).await.unwrap().into_inner();
    assert_eq!((unsigned.vectors.len(), unsigned.ranges), (rows.len() * width / 8, None));
    for (place, (&byte, &other)) in unsigned.vectors.iter().zip(&signed.vectors).enumerate() {
        assert_eq!(i16::from(other as i8), i16::from(byte) - 128);
        for bit in 0..8 {
            let x = rows[place * 8 / width][place * 8 % width + bit];
            assert!(x.abs() < 1e-5 || (byte >> (7 - bit) & 1 == 1) == (x > 0.0), "{place}, {bit}: {x}");
        }
    }
    let few = v1::Ranges { starts: vec![0.0; 3], ends: vec![1.0; 3] };
    refused(client.embed(ask(v1::VectorFormat::Int8, Some(few.clone()))).await, bad("BAD_FIELD", "ranges"), &["3"]);
    refused(client.embed(ask(v1::VectorFormat::F32, Some(few))).await, bad("BAD_FIELD", "ranges"), &["INT8"]);
    let turned = v1::Ranges { starts: vec![1.0; width], ends: vec![0.0; width] };
    refused(
        client.embed(ask(v1::VectorFormat::Uint8, Some(turned))).await,
        bad("BAD_FIELD", "ranges"),
        &["dimension 0"],
    );
}
