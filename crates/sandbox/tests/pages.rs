//! The pages as a browser fetches them: what they may do is said in headers, and everything that they name is there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod caller;

use adyton_sandbox::{Options, Sandbox};
use caller::Caller;

const PAGES: [&str; 3] = ["/consent", "/console", "/docs"];

#[tokio::test]
async fn a_page_may_run_its_own_scripts_and_ask_its_own_node_and_nothing_else() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut caller = Caller::connect(&sandbox.node_url()).await;
    for path in PAGES {
        let page = caller.send("GET", path, &[], None).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert_eq!(page.headers["cross-origin-opener-policy"], "same-origin");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        let mut rules: Vec<&str> = policy.split("; ").collect();
        rules.sort_unstable();
        assert_eq!(
            rules,
            [
                "base-uri 'none'",
                "connect-src 'self'",
                "default-src 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "img-src 'self'",
                "require-trusted-types-for 'script'",
                "script-src 'self'",
                "style-src 'self'",
                "trusted-types 'none'",
            ]
        );
        let head = caller.send("HEAD", path, &[], None).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        assert_eq!(head.headers["content-length"], page.body.len().to_string());
    }
    drop(caller);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn everything_that_a_page_names_is_there_and_is_kept_for_ever() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut caller = Caller::connect(&sandbox.node_url()).await;
    let mut fetched = 0;
    for path in PAGES {
        let page = caller.send("GET", path, &[], None).await;
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        for name in text.split('"').filter(|name| name.starts_with("/assets/")) {
            let asset = caller.send("GET", name, &[], None).await;
            assert_eq!(asset.status, 200, "{name}");
            assert_eq!(
                asset.headers["cache-control"],
                "public, max-age=31536000, immutable"
            );
            let kind = asset.headers["content-type"].to_str().unwrap();
            let expected = match name.rsplit_once('.').unwrap().1 {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                other => panic!("a page names a file of kind {other}"),
            };
            assert_eq!(kind, expected, "{name}");
            let tag = asset.headers["etag"].to_str().unwrap().to_owned();
            for tags in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
                let again = caller
                    .send("GET", name, &[("if-none-match", &tags)], None)
                    .await;
                let answer = (again.status.as_u16(), again.body.len());
                assert_eq!(answer, (304, 0), "{name} {tags}");
            }
            fetched += 1;
        }
    }
    assert!(fetched >= 9, "only {fetched} files");
    for path in [
        "/assets/built.rs",
        "/assets/..%2fconsent.html",
        "/assets/",
        "/consent.html",
        "/assets/consent",
    ] {
        let nothing = caller.send("GET", path, &[], None).await;
        assert_eq!(nothing.problem(), (404, "not-found".to_owned()), "{path}");
    }
    drop(caller);
    sandbox.shutdown().await;
}
