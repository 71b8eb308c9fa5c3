//! What the page loads.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{headers::guarded, live::LivePage};

/// Kinds of files.
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Every file of the page: where it is, of what kind, and what is in it.
const FILES: [(&str, &str, &str); 8] = [
    ("/page/page.css", CSS, include_str!("../assets/page.css")),
    ("/page/icon.svg", SVG, include_str!("../assets/icon.svg")),
    ("/page/page.js", JS, include_str!("../assets/page.js")),
    ("/page/dom.js", JS, include_str!("../assets/dom.js")),
    ("/page/try.js", JS, include_str!("../assets/try.js")),
    ("/page/servers.js", JS, include_str!("../assets/servers.js")),
    ("/page/cost.js", JS, include_str!("../assets/cost.js")),
    ("/page/jobs.js", JS, include_str!("../assets/jobs.js")),
];

/// What `page` loads: its files, and `GET /page/state.json`. The page itself is [`LivePage::html`], for it shares its place
/// with others. Nobody is asked for a key here.
pub fn routes(page: LivePage) -> Router {
    let mut router = Router::new().route("/page/state.json", get(state));
    for (path, kind, text) in FILES {
        router = router.route(path, get(async move || file(kind, text)));
    }
    router.layer(map_response(async |response: Response| guarded(response))).with_state(page)
}

async fn state(State(page): State<LivePage>) -> Response {
    Json(page.state()).into_response()
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use sortie_proto::v1::{LoadReport, ModelInfo};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{PageFleet, PageSource};

    /// Bytes of all that a browser loads, once: a phone on a slow line has it in a second.
    const MOST_BYTES: usize = 60_000;

    #[derive(Debug)]
    struct Named(&'static str);

    impl PageSource for Named {
        fn models(&self) -> Vec<(ModelInfo, LoadReport)> {
            vec![(ModelInfo { name: self.0.to_owned(), ..ModelInfo::default() }, LoadReport::default())]
        }

        fn fleet(&self) -> Option<PageFleet> {
            None
        }
    }

    fn page(name: &'static str) -> LivePage {
        let page = LivePage::new("sortie-test", Arc::new(|| Ok(()))).with_dialects();
        page.show(Arc::new(Named(name)));
        page
    }

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn it_is_small_and_whole() {
        let html = text(page("m").html()).await;
        let files: usize = FILES.iter().map(|(_, _, text)| text.len()).sum();
        assert!(html.len() + files < MOST_BYTES, "{} and {files} bytes", html.len());
        for (path, ..) in FILES {
            let told = path.strip_prefix('/').unwrap();
            let imported = format!("\"./{}\"", told.strip_prefix("page/").unwrap());
            let named = html.contains(told) || FILES.iter().any(|(_, _, text)| text.contains(&imported));
            assert!(named, "nothing loads {path}");
        }
    }

    #[tokio::test]
    async fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
        let html = text(page("m").html()).await;
        for (place, text) in FILES.iter().map(|(path, _, text)| (*path, *text)).chain([("/", html.as_str())]) {
            let foreign = text.replace("http://www.w3.org/", "");
            assert!(!foreign.contains("://"), "{place} names another place");
            for inline in ["style=", "onclick", "javascript:", "innerHTML", "eval(", "<style"] {
                assert!(!text.contains(inline), "{place} has {inline}");
            }
        }
        assert_eq!(html.matches("<script").count(), html.matches("<script type=\"module\" src=").count());
    }

    #[tokio::test]
    async fn every_answer_has_the_policy() {
        let page = page("m");
        let mut answers = vec![page.html()];
        for path in FILES.iter().map(|(path, ..)| *path).chain(["/page/state.json"]) {
            let request = Request::get(path).body(Body::empty()).unwrap();
            answers.push(routes(page.clone()).oneshot(request).await.unwrap());
        }
        for answer in answers {
            assert_eq!(answer.status(), 200);
            let policy = answer.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    }

    #[tokio::test]
    async fn names_are_escaped_and_there_without_a_script() {
        let html = text(page("<img src=x onerror=alert(1)>&\"'").html()).await;
        assert!(!html.contains("<img src=x"), "{html}");
        assert!(html.contains("src=x onerror=alert(1)") && html.contains("sortie-test"), "{html}");
        assert!(html.contains(env!("CARGO_PKG_VERSION")));
    }

    #[tokio::test]
    async fn readiness_is_said_in_words() {
        let page = LivePage::new("sortie-test", Arc::new(|| Err("starting: models load")));
        assert!(text(page.html()).await.contains("starting: models load"));
        let state = serde_json::to_value(page.state()).unwrap();
        assert_eq!((state["ready"].as_bool(), state["fleet"].is_null()), (Some(false), true), "{state}");
    }
}
