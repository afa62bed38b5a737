use adyton_oauth::form::{MAX_FORM_BYTES, MAX_PARAMETERS, MAX_RESOURCES, Parameters};
use adyton_oauth::token_request::{TokenRequest, token};

use crate::{Case, case, origin};

fn form(says: &'static str, text: impl AsRef<[u8]>, reason: &str) -> Case {
    case(says, Parameters::parse(text.as_ref()), reason)
}

fn request(says: &'static str, text: &str, code: &str) -> Case {
    let parameters = Parameters::parse(text.as_bytes()).unwrap();
    let read = TokenRequest::read(&parameters, &origin());
    case(says, read.map_err(|refused| refused.code.name()), code)
}

pub fn cases() -> Vec<Case> {
    let good = "grant_type=authorization_code&code=adyc_1&code_verifier=v&client_id=c";
    let parameters = Parameters::parse(good.as_bytes()).unwrap();
    assert!(TokenRequest::read(&parameters, &origin()).is_ok());
    let many: Vec<String> = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect();
    let resources = ["resource=https://node.example"; MAX_RESOURCES + 1].join("&");
    let long = format!("grant_type=refresh_token&refresh_token={}", "x".repeat(513));
    let twice = "a parameter stands more than once";
    let control = "a parameter has a control character";
    let token_of = |text: &str| {
        let parameters = Parameters::parse(text.as_bytes()).unwrap();
        token(&parameters).map(str::to_owned)
    };
    vec![
        form(
            "a parameter twice with two values",
            "scope=a&scope=b",
            twice,
        ),
        form(
            "a parameter twice with one value",
            "client_id=a&client_id=a",
            twice,
        ),
        form(
            "a parameter twice, once escaped",
            "sc%6Fpe=a&scope=b",
            twice,
        ),
        form(
            "a percent sign without digits",
            "a=%",
            "a parameter is not percent-encoded",
        ),
        form(
            "a percent sign with one digit",
            "a=%2",
            "a parameter is not percent-encoded",
        ),
        form(
            "a percent sign with letters beyond f",
            "a=%zz",
            "a parameter is not percent-encoded",
        ),
        form(
            "bytes that are no UTF-8",
            "a=%ff",
            "a parameter is not UTF-8",
        ),
        form(
            "an overlong encoding of a slash",
            "a=%c0%af",
            "a parameter is not UTF-8",
        ),
        form(
            "half of a surrogate pair",
            "a=%ed%a0%80",
            "a parameter is not UTF-8",
        ),
        form("a NUL in a value", "a=x%00y", control),
        form("an escape character in a value", "a=%1b", control),
        form("a control character in a name", "a%07=x", control),
        form(
            "one parameter too many",
            many.join("&"),
            "the request has too many parameters",
        ),
        form("one resource too many", resources, "too many resources"),
        form(
            "a form that is one byte too long",
            vec![b'a'; MAX_FORM_BYTES + 1],
            "the request is too long",
        ),
        request(
            "a token request without grant_type",
            "code=a&code_verifier=v",
            "invalid_request",
        ),
        request(
            "grant_type without a value",
            "grant_type=&code=a",
            "invalid_request",
        ),
        request(
            "a password grant",
            "grant_type=password&username=a&password=b",
            "unsupported_grant_type",
        ),
        request(
            "a client credentials grant",
            "grant_type=client_credentials",
            "unsupported_grant_type",
        ),
        request(
            "an implicit grant at the token endpoint",
            "grant_type=implicit",
            "unsupported_grant_type",
        ),
        request(
            "a device grant",
            "grant_type=urn:ietf:params:oauth:grant-type:device_code",
            "unsupported_grant_type",
        ),
        request(
            "a grant type in capitals",
            "grant_type=AUTHORIZATION_CODE&code=a&code_verifier=v",
            "unsupported_grant_type",
        ),
        request(
            "a code grant without a code",
            "grant_type=authorization_code&code_verifier=v",
            "invalid_request",
        ),
        request(
            "a code grant without a verifier",
            "grant_type=authorization_code&code=a",
            "invalid_request",
        ),
        request(
            "a refresh without a refresh token",
            "grant_type=refresh_token",
            "invalid_request",
        ),
        request("a refresh token longer than any", &long, "invalid_grant"),
        request(
            "a token for another resource",
            "grant_type=refresh_token&refresh_token=a&resource=https://other.example",
            "invalid_target",
        ),
        request(
            "a token for this resource and another one",
            "grant_type=refresh_token&refresh_token=a&resource=https://node.example&resource=https://other.example",
            "invalid_target",
        ),
        case(
            "a revocation of nothing",
            token_of("token_type_hint=access_token"),
            "token is needed",
        ),
        case(
            "a revocation of a text longer than any token",
            token_of(&format!("token={}", "x".repeat(513))),
            "the code or token is not one of this node",
        ),
    ]
}
