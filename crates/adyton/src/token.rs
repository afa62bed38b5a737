//! `adyton token`: what an app may do, for how long, until you take it back.

use std::time::Duration;

use adyton_client::attested_node::NodeCredential;
use adyton_client::clock::Clock;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::args::{NewTokenArgs, OwnerArgs, TokenCommand};
use crate::connect::open_vault;
use crate::failure::Failure;
use crate::node_access::{Node, not_json};
use crate::secret_file::{self, Kind};

/// Runs one of the token commands.
pub async fn run(
    command: &TokenCommand,
    json: bool,
    clock: &Clock,
) -> Result<Zeroizing<String>, Failure> {
    match command {
        TokenCommand::New(args) => new(args, json, clock).await,
        TokenCommand::List { owner } => list(owner, json, clock).await,
        TokenCommand::Revoke { id, owner } => revoke(*id, owner, json, clock).await,
    }
}

/// Appraises the node first: a session is made only for a node that may have it.
async fn as_owner(args: &OwnerArgs, clock: &Clock) -> Result<(Node, NodeCredential), Failure> {
    let node = Node::connect(&args.node, clock).await?;
    let vault = open_vault(&args.vault, clock).await?;
    let session = vault.context_session.expose_api_key();
    Ok((node, NodeCredential::Session(session)))
}

async fn new(args: &NewTokenArgs, json: bool, clock: &Clock) -> Result<Zeroizing<String>, Failure> {
    let (mut node, owner) = as_owner(&args.owner, clock).await?;
    let mut asked = json!({ "scopes": args.scope });
    if let Some(members) = asked.as_object_mut() {
        if let Some(app) = &args.app {
            members.insert("appDID".to_owned(), app.as_given().into());
        }
        if let Some(life) = args.expires {
            members.insert("expiresIn".to_owned(), life.as_secs().into());
        }
    }
    let mut minted = node
        .ask_json(Method::POST, "/auth/token", &owner, Some(&asked))
        .await?;
    let token = match minted.get_mut("token").map(Value::take) {
        Some(Value::String(token)) => Zeroizing::new(token),
        _ => return Err(not_json()),
    };
    mark(&mut minted, &node);
    if let Some(path) = &args.out {
        secret_file::write(path, Kind::Token, &token)?;
        let shown = path.display().to_string();
        if let Some(members) = minted.as_object_mut() {
            members.remove("token");
            members.insert("tokenFile".to_owned(), json!(shown));
        }
        return Ok(Zeroizing::new(if json {
            minted.to_string()
        } else {
            format!("token      {shown} (mode 0600)\n{}", describe(&minted))
        }));
    }
    if json {
        if let Some(members) = minted.as_object_mut() {
            members.insert("token".to_owned(), json!(*token));
        }
        return Ok(Zeroizing::new(minted.to_string()));
    }
    Ok(Zeroizing::new(format!(
        "{}\n\n{}\n\nIt is shown this once. Whoever has it can do this until then.",
        *token,
        describe(&minted)
    )))
}

async fn list(args: &OwnerArgs, json: bool, clock: &Clock) -> Result<Zeroizing<String>, Failure> {
    let (mut node, owner) = as_owner(args, clock).await?;
    let mut answer = node
        .ask_json(Method::GET, "/auth/tokens", &owner, None)
        .await?;
    mark(&mut answer, &node);
    if json {
        return Ok(Zeroizing::new(answer.to_string()));
    }
    let tokens = answer.get("tokens").and_then(Value::as_array);
    let tokens = tokens.ok_or_else(not_json)?;
    Ok(Zeroizing::new(if tokens.is_empty() {
        "no tokens".to_owned()
    } else {
        let shown: Vec<String> = tokens.iter().map(describe).collect();
        shown.join("\n\n")
    }))
}

async fn revoke(
    id: Uuid,
    args: &OwnerArgs,
    json: bool,
    clock: &Clock,
) -> Result<Zeroizing<String>, Failure> {
    let (mut node, owner) = as_owner(args, clock).await?;
    let path = format!("/auth/tokens/{id}");
    let mut answer = node
        .ask_json(Method::DELETE, &path, &owner, None)
        .await
        .map_err(|failure| match failure.message().contains("not-found") {
            true => failure.hint("`adyton token list` shows what there is to revoke"),
            false => failure,
        })?;
    mark(&mut answer, &node);
    Ok(Zeroizing::new(if json {
        answer.to_string()
    } else {
        format!("revoked    {id}")
    }))
}

/// A script is told about a simulation, too.
fn mark(answer: &mut Value, node: &Node) {
    if let Some(members) = answer.as_object_mut() {
        members.insert("simulated".to_owned(), node.is_simulated().into());
    }
}

/// What is known of a token, without the token.
fn describe(token: &Value) -> String {
    let text = |name: &str| token.get(name).and_then(Value::as_str).unwrap_or("?");
    let scopes: Vec<&str> = token
        .get("scopes")
        .and_then(Value::as_array)
        .map(|scopes| scopes.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut lines = vec![
        format!("id         {}", text("_id")),
        format!("allows     {}", scopes.join(", ")),
        format!("until      {}", text("expiresAt")),
    ];
    if token.get("appDID").is_some() {
        lines.push(format!("app        {}", text("appDID")));
    }
    lines.join("\n")
}

/// Reads a span of time: a number and one of s, m, h, d, w.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and a unit, for example 30d, 12h or 90m".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(0) => Err("a token that never lives is of no use".to_owned()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("that is too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
        ] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "d",
            "30",
            "0d",
            "-1d",
            "+1d",
            "1.5h",
            "1y",
            "99999999999999999999d",
            "9999999999999999999w",
            "1ж",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
