//! Named steps, each a program that passes or fails. Every step runs, so one run
//! tells everything; the last lines say what failed and what each took.

use std::{process::Command, time::Instant};

use anyhow::bail;

use crate::process;

/// What ran so far.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<StepResult>);

#[derive(Debug)]
struct StepResult {
    name: &'static str,
    passed: bool,
    seconds: f32,
}

impl Steps {
    /// Runs one step; an error only where its program cannot be started or the user stops us.
    pub(crate) fn run(&mut self, name: &'static str, command: &mut Command) -> anyhow::Result<()> {
        let start = Instant::now();
        let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        println!("== {name}: {}", words.join(" "));
        let status = process::status(command, name)?;
        self.0.push(StepResult { name, passed: status.success(), seconds: start.elapsed().as_secs_f32() });
        Ok(())
    }

    /// Takes what a step of our own came to.
    pub(crate) fn take(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<()>) {
        let start = Instant::now();
        println!("== {name}");
        let done = work().inspect_err(|error| eprintln!("error: {error:#}"));
        self.0.push(StepResult { name, passed: done.is_ok(), seconds: start.elapsed().as_secs_f32() });
    }

    /// Says what happened; an error if a step failed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!();
        for step in &self.0 {
            println!("{:20} {} in {:.0} s", step.name, if step.passed { "ok    " } else { "FAILED" }, step.seconds);
        }
        let failed: Vec<_> = self.0.iter().filter(|s| !s.passed).map(|s| s.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_runs_and_the_failed_ones_are_named() {
        let mut steps = Steps::default();
        for (name, program) in [("one", "false"), ("two", "true"), ("three", "false")] {
            steps.run(name, &mut Command::new(program)).unwrap();
        }
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: one, three");
        let mut steps = Steps::default();
        steps.take("four", || bail!("no"));
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: four");
        let mut steps = Steps::default();
        steps.run("one", &mut Command::new("true")).unwrap();
        steps.take("two", || Ok(()));
        steps.finish().unwrap();
    }
}
