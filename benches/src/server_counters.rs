//! What the servers say of a run themselves, read from their admin ports before and after it: a second witness beside
//! the clients.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context as _;

/// How long an admin port may take to answer: a server under full load shares its core with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counters of some servers together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerCounters {
    /// Rerank calls that ended.
    pub calls: f64,
    /// Chunks let into the queue.
    pub admitted: f64,
    /// Chunks not let in.
    pub refused: f64,
    /// Admitted chunks that were answered.
    pub answered: f64,
    /// Admitted chunks whose deadline came, or whose caller went away.
    pub lost: f64,
}

impl ServerCounters {
    /// Asks the servers at these admin ports.
    pub fn ask(admins: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for &admin in admins {
            let text = scrape(admin).with_context(|| format!("cannot read the metrics at {admin}"))?;
            let sum = |name: &str, label: &str| total(&text, name, label);
            all.calls += sum("sortie_requests_total", "rpc=\"Rerank\"");
            all.admitted += sum("sortie_chunks_admitted_total", "");
            all.refused += sum("sortie_chunks_refused_total", "");
            all.answered += sum("sortie_chunks_ended_total", "result=\"answered\"");
            all.lost += sum("sortie_chunks_ended_total", "result=\"expired\"");
            all.lost += sum("sortie_chunks_ended_total", "result=\"cancelled\"");
        }
        Ok(all)
    }

    /// What happened since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            admitted: self.admitted - before.admitted,
            refused: self.refused - before.refused,
            answered: self.answered - before.answered,
            lost: self.lost - before.lost,
        }
    }

    /// Lost over admitted chunks.
    pub fn late(self) -> f64 {
        self.lost / self.admitted.max(1.0)
    }
}

fn scrape(admin: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    anyhow::ensure!(text.starts_with("HTTP/1.1 200"), "{}", text.lines().next().unwrap_or_default());
    Ok(text)
}

/// Sum of a metric over all of its labels that hold `label`.
fn total(text: &str, name: &str, label: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        labels.contains(label).then(|| value.trim().parse::<f64>().ok()).flatten()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_name_and_label() {
        let text = "# HELP a x\na{rpc=\"Rerank\",code=\"OK\"} 3\na{rpc=\"Rerank\",code=\"NO\"} 4\na{rpc=\"Probe\"} 9\nab{rpc=\"Rerank\"} 5\nc 2\n";
        assert_eq!(total(text, "a", "rpc=\"Rerank\""), 7.0);
        assert_eq!((total(text, "a", ""), total(text, "c", ""), total(text, "d", "")), (16.0, 2.0, 0.0));
    }
}
