//! `cargo xtask kernels`: compiles the CUDA kernels of `crates/engine/kernels` into the module that the engine embeds.
//!
//! The compiler is NVIDIA's, of its Python packages, pinned by digest beside the kernels; no GPU is needed. The module holds
//! machine code for Hopper, and PTX that any later or earlier architecture from Ampere on compiles at load. Registers, spills and
//! sizes are printed; so is what the other architectures' assemblers make of the PTX.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

use crate::{
    cache::Cache,
    process::{self, Keep},
    site::Site,
    workspace,
};

/// The kernels, below the checkout.
const FOLDER: &str = "crates/engine/kernels";
/// What is embedded.
const MODULE: &str = "module.fatbin";
/// Largest module that is committed: a binary that grows unseen would be cloned by everybody.
const LARGEST: u64 = 2 << 20;
/// What machine code is made for, and what PTX.
const NATIVE: &str = "90";
const PORTABLE: &str = "80";
/// Architectures that take the PTX: compiled to see that they do, and thrown away.
const OTHERS: [&str; 5] = ["80", "86", "89", "100", "120"];

/// `cargo xtask kernels`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say whether the committed module is what the kernels make, and leave it as it is
    #[arg(long)]
    check: bool,
    /// Compile for the other architectures too, and throw that away
    #[arg(long)]
    others: bool,
}

/// Fetches the compiler, compiles, prints what came out, and writes the module.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let site = Site::ensure(&cache, "kernels", &format!("{FOLDER}/requirements.lock"))?;
    let scratch = cache.scratch()?;
    let nvcc = site.file("nvidia/cu13/bin/nvcc")?;
    let folder = workspace::root().join(FOLDER);
    let compile = |output: &Path, more: &[String]| {
        let mut command = Command::new(&nvcc);
        command.current_dir(&folder).args(["-std=c++17", "-O3", "-I.", "module.cu", "-o"]).arg(output).args(more);
        let said = process::output(&mut command, "nvcc", Keep::Both)?;
        ensure!(said.status.success(), "nvcc failed:\n{}{}", said.stdout, said.stderr);
        Ok::<_, anyhow::Error>(said)
    };
    let made = scratch.path().join(MODULE);
    let code =
        |virtual_one: &str, real: &str| vec!["-gencode".to_owned(), format!("arch=compute_{virtual_one},code={real}")];
    let mut more = code(PORTABLE, &format!("compute_{PORTABLE}"));
    more.extend(code(NATIVE, &format!("sm_{NATIVE}")));
    more.extend(["-fatbin", "-Xptxas", "-v", "-Xfatbin", "-compress-all", "-compress-mode=size"].map(str::to_owned));
    let said = compile(&made, &more)?;
    print_resources(&said.stderr)?;
    if args.others {
        for other in OTHERS {
            let mut more = code(PORTABLE, &format!("sm_{other}"));
            more.push("-cubin".to_owned());
            compile(&scratch.path().join("thrown-away"), &more).with_context(|| format!("sm_{other}"))?;
            println!("sm_{other}: compiles");
        }
    }
    let bytes = fs::read(&made)?;
    println!("{MODULE}: {} KiB, at most {} KiB", bytes.len() >> 10, LARGEST >> 10);
    ensure!(bytes.len() as u64 <= LARGEST, "the module is larger than {LARGEST} bytes");
    let committed = folder.join(MODULE);
    let same = fs::read(&committed).is_ok_and(|there| there == bytes);
    if args.check {
        ensure!(same, "{} is not what the kernels make: run `cargo xtask kernels`", committed.display());
        return Ok(());
    }
    if !same {
        fs::write(&committed, bytes).with_context(|| format!("cannot write {}", committed.display()))?;
    }
    println!("{}", if same { "it is what was there" } else { "it was written" });
    Ok(())
}

/// The table of what the assembler said of each kernel.
fn print_resources(said: &str) -> anyhow::Result<()> {
    println!("| kernel | registers | spilled bytes | shared bytes of its own |\n| --- | ---: | ---: | ---: |");
    let (mut name, mut spilled, mut kernels) = (String::new(), 0_u64, 0_usize);
    for line in said.lines() {
        if let Some(entry) = line.split('\'').nth(1).filter(|_| line.contains("Compiling entry function")) {
            entry.clone_into(&mut name);
        }
        if line.contains("bytes spill stores") {
            spilled = number_before(line, " bytes spill stores");
        }
        if line.contains("Used ") && line.contains(" registers") {
            let registers = number_before(line, " registers");
            println!("| {name} | {registers} | {spilled} | {} |", number_before(line, " bytes smem"));
            kernels += 1;
        }
    }
    if kernels == 0 {
        bail!("nvcc said nothing of kernels:\n{said}");
    }
    Ok(())
}

/// The whole number that stands before `what`; 0 where there is none.
fn number_before(line: &str, what: &str) -> u64 {
    let Some((before, _)) = line.split_once(what) else { return 0 };
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_off_the_assemblers_words() {
        let line = "ptxas info    : Used 137 registers, used 1 barriers, 128 bytes smem, 96 bytes cmem[0]";
        assert_eq!((number_before(line, " registers"), number_before(line, " bytes smem")), (137, 128));
        assert_eq!(number_before(line, " bytes spill stores"), 0);
    }
}
