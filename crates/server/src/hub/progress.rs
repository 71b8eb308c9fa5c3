//! One bar over all files of a fetch, on a terminal only; a line in the log otherwise.
//!
//! Invariant: bytes of one file count once, whichever events report them.

use std::{collections::HashMap, io::IsTerminal, sync::Arc};

use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// Look of the bar.
const TEMPLATE: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// The bar of one fetch.
#[derive(Debug)]
pub(super) struct DownloadBar {
    bar: ProgressBar,
    files: Arc<Mutex<HashMap<String, u64>>>,
}

impl DownloadBar {
    /// A bar for `total` bytes of `name`; hidden where stderr is no terminal.
    pub(super) fn new(name: &str, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        tracing::info!(model = name, bytes = total, "fetching from the model hub");
        Self { bar, files: Arc::default() }
    }

    /// What reports on one file.
    pub(super) fn file(&self, path: &str) -> Progress {
        Progress::new(FileProgress { bar: self.bar.clone(), files: Arc::clone(&self.files), path: path.to_owned() })
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

struct FileProgress {
    bar: ProgressBar,
    files: Arc<Mutex<HashMap<String, u64>>>,
    path: String,
}

impl ProgressHandler for FileProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        let done = match event {
            DownloadEvent::Progress { files } => files.iter().map(|file| file.bytes_completed).max(),
            DownloadEvent::AggregateProgress { bytes_completed, .. } => Some(*bytes_completed),
            DownloadEvent::Start { .. } | DownloadEvent::Complete => None,
        };
        let Some(done) = done else { return };
        let mut files = self.files.lock();
        let before = files.insert(self.path.clone(), done).unwrap_or(0);
        self.bar.inc(done.saturating_sub(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_once() {
        let bar = DownloadBar::new("org/name", 100);
        let file = FileProgress { bar: bar.bar.clone(), files: Arc::clone(&bar.files), path: "a".to_owned() };
        let event = |bytes_completed| {
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed,
                total_bytes: 60,
                bytes_per_sec: None,
            })
        };
        for done in [10, 10, 60] {
            file.on_progress(&event(done));
        }
        file.on_progress(&ProgressEvent::Download(DownloadEvent::Complete));
        assert_eq!(bar.bar.position(), 60);
    }
}
