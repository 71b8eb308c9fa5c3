//! Embeds every line of a file of any length, in bounded memory, and goes on where it was stopped.
//!
//! ```text
//! cargo run -p sortie-client --release --example embed_file -- texts.txt vectors.f32 http://127.0.0.1:50051
//! ```
//!
//! The output has one row of little-endian f32 for each line, NaN where a line failed. After a crash
//! the same command goes on after the last whole row: answers come in order, so what is written is
//! what is done.

use std::{io::Write as _, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sortie_client::Client;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, BufReader},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (input, output) = args.next().zip(args.next()).ok_or("usage: embed_file INPUT OUTPUT ENDPOINT...")?;
    let client = Client::builder().endpoints(args).connect().await?;

    let mut rows = std::fs::OpenOptions::new().create(true).append(true).open(&output)?;
    let row_bytes = 4 * u64::from(client.get_model().await?.dimensions.max(1));
    let done = rows.metadata()?.len() / row_bytes;
    rows.set_len(done * row_bytes)?;

    let lines = BufReader::new(File::open(&input).await?).lines();
    // A line that cannot be read ends the input; what was read until then is answered.
    let texts = stream::try_unfold(lines, |mut lines| async { Ok(lines.next_line().await?.map(|line| (line, lines))) })
        .inspect_err(|error: &std::io::Error| eprintln!("the input ends early: {error}"))
        .take_while(|line| std::future::ready(line.is_ok()))
        .filter_map(|line| std::future::ready(line.ok()));

    let mut run =
        client.bulk(texts).resume_at(done).give_up_after(Duration::from_secs(3_600)).embed(|call| call.normalize(true));
    while let Some(slice) = run.try_next().await? {
        for vector in &slice.answer.vectors {
            match vector {
                Some(vector) => vector.iter().try_for_each(|number| rows.write_all(&number.to_le_bytes()))?,
                None => (0..row_bytes / 4).try_for_each(|_| rows.write_all(&f32::NAN.to_le_bytes()))?,
            }
        }
        for error in &slice.answer.report.errors {
            eprintln!("line {}: {} {}", slice.start + error.index as u64 + 1, error.reason, error.message);
        }
        let progress = run.progress();
        eprint!("\r{} lines, {} slices under way ", progress.resume_at, progress.slices);
    }
    eprintln!();
    Ok(())
}
