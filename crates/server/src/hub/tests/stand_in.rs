//! A model hub in a test: one repository, the few addresses that are asked, and
//! faults on demand. Speaks HTTP/1.1, one request a connection.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) const NAME: &str = "sortie-tests/bert-rerank";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Request lines, with `+token` where one came.
    seen: Vec<String>,
    /// Cut the next transfer of this file after so many bytes.
    cut: Option<(String, usize)>,
    /// Answer the next transfer of this file with an error page.
    page: Option<String>,
    /// Leave out the code that says what is missing.
    bare: bool,
}

pub(crate) struct StandIn {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl StandIn {
    /// Serves the tiny reranker.
    pub(crate) async fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny/bert-rerank");
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()));
        let state = Arc::new(Mutex::new(State { files: files.collect(), ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { endpoint, state, server }
    }

    /// Closes the port.
    pub(crate) async fn stop(self) {
        self.server.abort();
        let _ = self.server.await;
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.state.lock().files.insert(path.to_owned(), bytes.to_vec());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().files.remove(path);
    }

    pub(crate) fn cut(&self, path: &str, after: usize) {
        self.state.lock().cut = Some((path.to_owned(), after));
    }

    pub(crate) fn error_page(&self, path: &str) {
        self.state.lock().page = Some(path.to_owned());
    }

    pub(crate) fn bare(&self) {
        self.state.lock().bare = true;
    }

    pub(crate) fn file(&self, path: &str) -> Vec<u8> {
        self.state.lock().files[path].clone()
    }

    pub(crate) fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().seen)
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let reply = answer(&head, &mut state.lock());
    // The other side may have gone; that is its right.
    let _ = stream.get_mut().write_all(&reply).await;
    let _ = stream.get_mut().shutdown().await;
}

fn answer(head: &str, state: &mut State) -> Vec<u8> {
    let line = head.lines().next().unwrap();
    let token = head.lines().any(|l| l.eq_ignore_ascii_case("authorization: Bearer hf_secret"));
    state.seen.push(format!("{}{}", line.trim_end_matches(" HTTP/1.1"), if token { " +token" } else { "" }));
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap();
    let missing = |code: &str, bare: bool| {
        let code = if bare { String::new() } else { format!("X-Error-Code: {code}\r\n") };
        respond("404 Not Found", &code, b"{\"error\":\"missing\"}", method)
    };
    if let Some(rest) = path.strip_prefix(&format!("/api/models/{NAME}")) {
        let info = format!("{{\"id\":\"{NAME}\",\"sha\":\"{COMMIT}\"}}");
        return match rest {
            "" | "/revision/main" | "/revision/v1" => respond("200 OK", "", info.as_bytes(), method),
            _ if rest == format!("/revision/{COMMIT}") => respond("200 OK", "", info.as_bytes(), method),
            _ if rest == format!("/tree/{COMMIT}") => {
                let file = |(path, bytes): (&String, &Vec<u8>)| {
                    format!("{{\"type\":\"file\",\"oid\":\"0\",\"size\":{},\"path\":\"{path}\"}}", bytes.len())
                };
                let files: Vec<_> = state.files.iter().map(file).collect();
                respond("200 OK", "", format!("[{}]", files.join(",")).as_bytes(), method)
            }
            _ => missing("RevisionNotFound", state.bare),
        };
    }
    let Some(file) = path.strip_prefix(&format!("/{NAME}/resolve/{COMMIT}/")) else {
        return missing("RepoNotFound", state.bare);
    };
    let Some(bytes) = state.files.get(file) else { return missing("EntryNotFound", state.bare) };
    let etag = file.replace('/', "-");
    let headers = format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n");
    if method == "GET" && state.page.take_if(|page| page == file).is_some() {
        return respond("403 Forbidden", "", b"<html>go away</html>", method);
    }
    let mut reply = respond("200 OK", &headers, bytes, method);
    if method == "GET"
        && let Some((_, after)) = state.cut.take_if(|(path, _)| path == file)
    {
        reply.truncate(reply.len() - bytes.len() + after);
    }
    reply
}

fn respond(status: &str, headers: &str, body: &[u8], method: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let mut reply = head.into_bytes();
    if method != "HEAD" {
        reply.extend_from_slice(body);
    }
    reply
}
