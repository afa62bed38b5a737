use super::*;

fn schemas() -> SchemaSet {
    SchemaSet::embedded().unwrap()
}

fn uri(path: &str) -> String {
    format!("https://common.schemas.verida.io/{path}/v0.1.0/schema.json")
}

fn base64(text: &str) -> String {
    base64_simd::STANDARD.encode_to_string(text)
}

/// Type, name or URI, and letters of each.
fn outline(resolved: &Value) -> Vec<String> {
    let scopes = resolved["scopes"].as_array().unwrap();
    let outline = |scope: &Value| {
        let text = |member: &str| scope[member].as_str().unwrap_or_default().to_owned();
        let letters: String = scope["permissions"]
            .as_array()
            .map(|letters| {
                letters
                    .iter()
                    .map(|letter| letter.as_str().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        format!("{} {} {letters}", text("type"), text("name"))
    };
    scopes.iter().map(outline).collect()
}

/// Case 11 of `spec/user-data-api.md` §9.
#[test]
fn every_form_of_a_scope_is_expanded_and_merged_in_the_order_of_first_appearance() {
    let following = uri("social/following");
    let encoded = base64(&following);
    let texts = [
        "ds:r:file",
        "ds:rw:favourite",
        "ds:rwd:social-event",
        "db:r:file",
        "db:r:favourite",
        "db:rw:favourite",
        "db:rwd:social_event",
        &format!("ds:r:base64/{encoded}"),
        &format!("ds:rwd:base64/{encoded}"),
        "api:llm-agent-prompt",
    ];
    let resolved = resolved(&texts, &schemas());
    let expected = [
        "ds File r",
        "ds Favourite rw",
        "ds Event rwd",
        "db file r",
        "db favourite rw",
        "db social_event rwd",
        "ds Following rwd",
        "api llm-agent-prompt ",
    ];
    assert_eq!(outline(&resolved), expected);
    let validity = resolved["scopeValidity"].as_object().unwrap();
    assert!(validity.values().all(|valid| valid == true));
    // Keyed by what the scope says once it is decoded.
    assert_eq!(validity[&format!("ds:r:{following}")], true);
    assert_eq!(validity.len(), texts.len());
    let scopes = &resolved["scopes"];
    assert_eq!(scopes[0]["namePlural"], "Files");
    assert_eq!(scopes[0]["uri"], uri("file"));
    assert_eq!(
        (&scopes[2]["knownSchema"], scopes[2].get("namePlural")),
        (&json!(true), None)
    );
    assert_eq!(scopes[6]["namePlural"], "Following");
}

/// Case 12: what is never granted, does not exist, or is hosted by whoever asks.
#[test]
fn what_cannot_be_granted_is_said_to_be_invalid_and_is_not_described() {
    let wallets = "https://common.schemas.verida.io/wallets/v0.2.0/schema.json";
    let storage = "https://core.schemas.verida.io/storage/database/v0.1.0/schema.json";
    let invalid = [
        format!("ds:r:{}", uri("wallets")),
        "ds:r:https://common.schemas.verida.io/wallets/v0.1.1/schema.json".to_owned(),
        format!("ds:r:base64/{}", base64(wallets)),
        format!("ds:rwd:{storage}"),
        "ds:r:https://common.schemas.verida.io/no/such/v0.1.0/schema.json".to_owned(),
        "ds:rwd:https://evil.example/file/v0.1.0/schema.json".to_owned(),
        "db:r:storage_database".to_owned(),
        "db:r:user_wallet".to_owned(),
        "db:rwd:user_wallet".to_owned(),
        "db:r:data_connections".to_owned(),
        "api:invalid".to_owned(),
        "test-scope".to_owned(),
        "xxds:r:file".to_owned(),
        "ds:r:base64/~".to_owned(),
        String::new(),
    ];
    let valid = [
        "db:r:favourite",
        "api:ds-query",
        "db:rw:favourite",
        "ds:r:file",
    ];
    let mut texts: Vec<&str> = invalid.iter().map(String::as_str).collect();
    texts.extend(valid);
    let resolved = resolved(&texts, &schemas());
    assert_eq!(
        outline(&resolved),
        ["db favourite rw", "api ds-query ", "ds File r"]
    );
    let validity = resolved["scopeValidity"].as_object().unwrap();
    for text in valid {
        assert_eq!(validity[text], true, "{text}");
    }
    assert_eq!(validity[&format!("ds:r:{wallets}")], false);
    let refused = validity.values().filter(|valid| **valid == false).count();
    assert_eq!(refused, invalid.len());
}

/// Case 13.
#[test]
fn one_scope_is_one_element_and_none_that_is_valid_is_an_empty_list() {
    assert_eq!(
        outline(&resolved(&["ds:r:file"], &schemas())),
        ["ds File r"]
    );
    assert_eq!(resolved(&["api:invalid"], &schemas())["scopes"], json!([]));
}
