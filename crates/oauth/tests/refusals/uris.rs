use adyton_oauth::client_id::{ClientId, MAX_CLIENT_ID_BYTES};
use adyton_oauth::origin::Origin;
use adyton_oauth::redirect_uri::{MAX_REDIRECT_BYTES, RedirectUri};

use crate::{Case, case};

fn id(says: &'static str, text: &str, refusal: &str) -> Case {
    let read = ClientId::parse(text).map_err(|error| format!("{error:?}"));
    case(says, read, refusal)
}

fn redirect(says: &'static str, text: &str, refusal: &str) -> Case {
    let read = RedirectUri::parse(text).map_err(|error| format!("{error:?}"));
    case(says, read, refusal)
}

/// A client that published one URI is asked to be answered at another.
fn among(says: &'static str, published: &str, asked: &str) -> Case {
    let published = RedirectUri::parse(published).unwrap();
    let same = RedirectUri::among(std::slice::from_ref(&published), published.as_str());
    assert_eq!(same.unwrap(), published);
    case(
        says,
        RedirectUri::among(&[published], asked),
        "redirect_uri is not one that the client published",
    )
}

fn origin(says: &'static str, text: &str) -> Case {
    case(
        says,
        Origin::parse(text),
        "an origin is https:// with a host and perhaps a port, and nothing else",
    )
}

pub fn cases() -> Vec<Case> {
    for good in [
        "https://app.example/client.json",
        "https://app.example:8443/a/b",
        "http://localhost:3000/client.json",
        "did:vda:polpos:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
    ] {
        assert_eq!(ClientId::parse(good).unwrap().as_str(), good);
    }
    for good in [
        "https://app.example/back?from=adyton",
        "http://127.0.0.1:9/back",
        "http://[::1]/back",
        "com.example.app:/back",
    ] {
        assert_eq!(RedirectUri::parse(good).unwrap().as_str(), good);
    }
    let long_id = format!("https://app.example/{}", "x".repeat(MAX_CLIENT_ID_BYTES));
    let long_uri = format!("https://app.example/{}", "x".repeat(MAX_REDIRECT_BYTES));
    let web = "https://app.example/back";
    let local = "http://127.0.0.1/back";
    vec![
        id("a client id that is nothing", "", "Kind"),
        id("a client id that is a word", "my-app", "Kind"),
        id(
            "a client id of the method web",
            "did:web:app.example",
            "Kind",
        ),
        id("a DID without an address", "did:vda:polpos:", "Kind"),
        id(
            "a client id over plain http",
            "http://app.example/client.json",
            "Kind",
        ),
        id("a file as client id", "file:///etc/passwd", "Kind"),
        id("data as client id", "data:application/json,{}", "Kind"),
        id("a script as client id", "javascript:alert(1)", "Kind"),
        id("gopher as client id", "gopher://app.example/1", "Kind"),
        id(
            "a client id that is only a host",
            "https://app.example/",
            "NoPath",
        ),
        id(
            "a client id with a query",
            "https://app.example/c?x=1",
            "TooMuch",
        ),
        id(
            "a client id with a fragment",
            "https://app.example/c#x",
            "TooMuch",
        ),
        id(
            "a client id with a user name",
            "https://bank.example@app.example/c",
            "TooMuch",
        ),
        id(
            "a client id with a password",
            "https://a:b@app.example/c",
            "TooMuch",
        ),
        id(
            "a client id without its slash",
            "https://app.example",
            "Spelling",
        ),
        id(
            "a client id with dots for folders",
            "https://app.example/a/../c",
            "Spelling",
        ),
        id(
            "a client id with escaped dots",
            "https://app.example/a/%2e%2e/c",
            "Spelling",
        ),
        id(
            "a client id with an escaped slash",
            "https://app.example/a%2fc",
            "Spelling",
        ),
        id(
            "a client id in capitals",
            "https://APP.example/c",
            "Spelling",
        ),
        id(
            "a client id with the default port",
            "https://app.example:443/c",
            "Spelling",
        ),
        id(
            "a client id with a space before it",
            " https://app.example/c",
            "Spelling",
        ),
        id(
            "a client id with a line end",
            "https://app.example/c\n",
            "Spelling",
        ),
        id(
            "a client id with backslashes",
            "https:\\\\app.example\\c",
            "Spelling",
        ),
        id(
            "a client id with letters of another alphabet",
            "https://аpp.example/c",
            "Spelling",
        ),
        id(
            "a client id with an empty folder",
            "https://app.example//c",
            "NoPath",
        ),
        id(
            "a client id on this machine over https",
            "https://10.0.0.1/c",
            "Host",
        ),
        id(
            "a client id at the address of the cloud's metadata",
            "https://169.254.169.254/latest",
            "Host",
        ),
        id(
            "a client id at a private address",
            "https://192.168.0.1/c",
            "Host",
        ),
        id(
            "a client id at a public address",
            "https://8.8.8.8/c",
            "Host",
        ),
        id(
            "a client id at a decimal address",
            "https://2852039166/c",
            "Spelling",
        ),
        id(
            "a client id at a hexadecimal address",
            "https://0xa9fea9fe/c",
            "Spelling",
        ),
        id(
            "a client id at an octal address",
            "https://0251.0376.0251.0376/c",
            "Spelling",
        ),
        id(
            "a client id at a shortened address",
            "https://10.1/c",
            "Spelling",
        ),
        id(
            "a client id at an IPv6 address",
            "https://[2606:4700::1111]/c",
            "Host",
        ),
        id(
            "a client id at an IPv4 address in IPv6",
            "https://[::ffff:a9fe:a9fe]/c",
            "Host",
        ),
        id(
            "a client id at a name without a dot",
            "https://intranet/c",
            "Host",
        ),
        id(
            "a client id at a name that ends in a dot",
            "https://app.example./c",
            "Host",
        ),
        id(
            "a client id below localhost",
            "https://app.localhost/c",
            "Host",
        ),
        id(
            "a client id in a local network",
            "https://printer.local/c",
            "Host",
        ),
        id(
            "a client id in a cloud's own network",
            "https://metadata.google.internal/c",
            "Host",
        ),
        id(
            "a client id at a reverse name",
            "https://1.0.0.127.in-addr.arpa/c",
            "Host",
        ),
        id("a client id one byte too long", &long_id, "TooLong"),
        redirect(
            "a redirect to a script",
            "javascript:alert(1)//app.example",
            "Scheme",
        ),
        redirect("a redirect to data", "data:text/html,x", "Scheme"),
        redirect("a redirect to a file", "file:///tmp/x", "Scheme"),
        redirect(
            "a redirect to a blob",
            "blob:https://app.example/1",
            "Scheme",
        ),
        redirect(
            "a redirect to a scheme without a dot",
            "myapp:/back",
            "Scheme",
        ),
        redirect(
            "a redirect over plain http",
            "http://app.example/back",
            "PlainHttp",
        ),
        redirect(
            "a redirect over plain http to a private address",
            "http://10.0.0.1/back",
            "PlainHttp",
        ),
        redirect(
            "a redirect to a name that begins with localhost",
            "http://localhost.evil.example/",
            "PlainHttp",
        ),
        redirect(
            "a redirect with a fragment",
            "https://app.example/back#x",
            "Fragment",
        ),
        redirect(
            "a redirect with an empty fragment",
            "https://app.example/back#",
            "Fragment",
        ),
        redirect(
            "a redirect with a user name",
            "https://bank.example@evil.example/",
            "UserInfo",
        ),
        redirect(
            "a redirect with an empty user name",
            "https://@evil.example/",
            "UserInfo",
        ),
        redirect(
            "a redirect with a password",
            "https://a:b@evil.example/",
            "UserInfo",
        ),
        redirect(
            "a redirect with a backslash",
            "https://app.example\\@evil.example/",
            "Syntax",
        ),
        redirect(
            "a redirect with a line end",
            "https://app.example/\r\nx",
            "Syntax",
        ),
        redirect(
            "a redirect with a tab that parsers drop",
            "https://app.exa\tmple/",
            "Syntax",
        ),
        redirect(
            "a redirect with a space",
            "https://app.example/a b",
            "Syntax",
        ),
        redirect(
            "a redirect with letters beyond ASCII",
            "https://app.example/ü",
            "Syntax",
        ),
        redirect(
            "a redirect without slashes",
            "https:app.example/back",
            "Syntax",
        ),
        redirect("a redirect that is relative", "/back", "Syntax"),
        redirect(
            "a redirect without a scheme",
            "//app.example/back",
            "Syntax",
        ),
        redirect("a redirect one byte too long", &long_uri, "TooLong"),
        among(
            "an unpublished path below the published one",
            web,
            "https://app.example/back/more",
        ),
        among(
            "an unpublished path beside the published one",
            web,
            "https://app.example/backdoor",
        ),
        among(
            "the published URI with a query",
            web,
            "https://app.example/back?x=1",
        ),
        among(
            "the published URI with a slash",
            web,
            "https://app.example/back/",
        ),
        among(
            "the published URI in capitals",
            web,
            "https://app.example/BACK",
        ),
        among(
            "the published URI with the default port",
            web,
            "https://app.example:443/back",
        ),
        among(
            "the published URI over plain http",
            web,
            "http://app.example/back",
        ),
        among(
            "the published URI at a name below it",
            web,
            "https://a.app.example/back",
        ),
        among(
            "the published URI at a name that begins like it",
            web,
            "https://app.example.evil.example/back",
        ),
        among(
            "the published URI with dots for folders",
            web,
            "https://app.example/x/../back",
        ),
        among(
            "the published URI escaped",
            web,
            "https://app.example/b%61ck",
        ),
        among(
            "the published URI with a fragment",
            web,
            "https://app.example/back#x",
        ),
        among(
            "another port of a server on the web",
            web,
            "https://app.example:8443/back",
        ),
        among(
            "another path on this machine",
            local,
            "http://127.0.0.1:9/other",
        ),
        among(
            "another name for this machine",
            local,
            "http://localhost:9/back",
        ),
        among("another machine's port", local, "http://127.0.0.2:9/back"),
        origin("an origin with a path", "https://node.example/x"),
        origin("an origin with a slash", "https://node.example/"),
        origin("an origin over plain http", "http://node.example"),
        origin("an origin in capitals", "https://Node.example"),
        origin("an origin with a user name", "https://a@node.example"),
        origin(
            "an origin with its default port",
            "https://node.example:443",
        ),
        origin("an origin that is nothing", ""),
    ]
}
