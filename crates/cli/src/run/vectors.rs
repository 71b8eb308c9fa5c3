//! `sortie embed`, `sortie embed-tokens` and `sortie sparse`.

use std::{fs::File, io::BufWriter, path::Path};

use sortie_client::VectorFormat;

use super::print::print;
use crate::{
    args::{EmbedArgs, EmbedTokensArgs, SparseArgs},
    collect::gather,
    context::CommandContext,
    exit::{CommandFailure, Exit},
    npy, read,
    report::{MatrixHead, MatrixRow, SparseHead, SparseRow, VectorHead, VectorRow},
};

/// Turns texts into dense vectors.
pub(crate) fn embed(args: &EmbedArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, args.pair)?;
    let mut all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.embed(slice).options(args.text.options()).revisions(args.text.revisions());
                if let Some(pooling) = args.pooling {
                    call = call.pooling(pooling.into());
                }
                if let Some(normalize) = args.normalize {
                    call = call.normalize(normalize);
                }
                if let Some(dimensions) = args.dimensions {
                    call = call.dimensions(dimensions);
                }
                if args.half {
                    call = call.format(VectorFormat::F16);
                }
                if let Some(stride) = args.stride {
                    call = call.windows(stride);
                }
                async {
                    let answer = call.await?;
                    let dimensions = Some(answer.dimensions).filter(|dimensions| *dimensions > 0);
                    Ok((dimensions, answer.vectors, answer.report))
                }
            })
            .await
        }
    })?;
    let dimensions = all.head().unwrap_or_default();
    let report = all.report(&items, VectorHead { dimensions }, context.output.timings, |_, item, vector| {
        Some(VectorRow { item, vector })
    });
    if let Some(path) = &args.output {
        let mut rows = vec![None; items.len()];
        for row in &report.results {
            rows[row.item.index] = Some(row.vector.as_slice());
        }
        save(path, dimensions, &rows)?;
    }
    print(&report, &context.output)
}

fn save(path: &Path, dimensions: usize, rows: &[Option<&[f32]>]) -> Result<(), CommandFailure> {
    let written = File::create(path).and_then(|file| npy::write(BufWriter::new(file), dimensions, rows));
    written.map_err(|error| CommandFailure::usage(format!("--output {}: {error}", path.display())))
}

/// Turns texts into vectors of their tokens.
pub(crate) fn embed_tokens(args: &EmbedTokensArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, false)?;
    let all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.embed_tokens(slice).options(args.text.options()).with_places(true);
                call = call.revisions(args.text.revisions());
                if args.half {
                    call = call.format(VectorFormat::F16);
                }
                async {
                    let answer = call.await?;
                    Ok((Some(()), answer.matrices, answer.report))
                }
            })
            .await
        }
    })?;
    let report = all.report(&items, MatrixHead {}, context.output.timings, |_, item, matrix| {
        Some(MatrixRow { item, vectors: matrix.rows, places: matrix.tokens })
    });
    if let Some(path) = &args.output {
        let rows: Vec<_> = report.results.iter().flat_map(|row| &row.vectors).map(|v| Some(v.as_slice())).collect();
        save(path, rows.iter().flatten().map(|row| row.len()).max().unwrap_or_default(), &rows)?;
    }
    print(&report, &context.output)
}

/// Turns texts into sparse vectors.
pub(crate) fn sparse(args: &SparseArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, false)?;
    let all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.embed_sparse(slice).options(args.text.options());
                call = call.revisions(args.text.revisions());
                if let Some(k) = args.top_k {
                    call = call.top_k(k);
                }
                async {
                    let answer = call.await?;
                    Ok((Some(()), answer.vectors, answer.report))
                }
            })
            .await
        }
    })?;
    let report = all.report(&items, SparseHead {}, context.output.timings, |_, item, vector| {
        Some(SparseRow { item, indices: vector.indices, weights: vector.weights })
    });
    print(&report, &context.output)
}
