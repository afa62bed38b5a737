//! JSON-RPC 2.0 as an Ethereum node speaks it: one question, one answer, as data.
//!
//! Guarantees: an answer counts only when it is to this question. Refuses to know: who is asked, and how often.

use adyton_protocol::address::Address;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest answer that is read, in bytes: 64 endpoints of 2 KiB as hex digits, and room.
pub const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RpcAnswer {
    /// The bytes that a call returned, or a quantity.
    Returned(Vec<u8>),
    /// The contract refused, with these bytes.
    Reverted(Vec<u8>),
}

/// The answer is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// It is not JSON-RPC, or not hexadecimal.
    #[error("the node's answer is not JSON-RPC")]
    Malformed,
    /// It answers another question.
    #[error("the node answers another question")]
    OtherQuestion,
    /// The node could not do it, whatever the contract would have said.
    #[error("the node refused with code {0}")]
    Refused(i64),
}

/// `eth_call` of a contract, at the latest block.
pub fn eth_call(id: u64, contract: &Address, data: &[u8]) -> Bytes {
    let call = json!({"to": contract.lowercase(), "data": format!("0x{}", hex::encode(data))});
    question(id, "eth_call", &json!([call, "latest"]))
}

/// `eth_chainId`.
pub fn eth_chain_id(id: u64) -> Bytes {
    question(id, "eth_chainId", &json!([]))
}

fn question(id: u64, method: &str, params: &Value) -> Bytes {
    let question = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    question.to_string().into()
}

#[derive(Deserialize)]
struct Wire {
    id: Option<Value>,
    result: Option<Value>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    code: i64,
    data: Option<Value>,
}

/// Reads the answer to question `id`.
pub fn read(id: u64, body: &[u8]) -> Result<RpcAnswer, RpcError> {
    if body.len() > MAX_ANSWER_BYTES {
        return Err(RpcError::Malformed);
    }
    let wire: Wire = serde_json::from_slice(body).map_err(|_| RpcError::Malformed)?;
    if wire.id.as_ref().and_then(Value::as_u64) != Some(id) {
        return Err(RpcError::OtherQuestion);
    }
    match (wire.result, wire.error) {
        (Some(Value::String(text)), None) => hex_bytes(&text)
            .map(RpcAnswer::Returned)
            .ok_or(RpcError::Malformed),
        (None, Some(error)) => match error.data.as_ref().and_then(revert_data) {
            Some(data) => Ok(RpcAnswer::Reverted(data)),
            None => Err(RpcError::Refused(error.code)),
        },
        _ => Err(RpcError::Malformed),
    }
}

/// The bytes of a revert: as a text, after the word that some nodes put before it, or one level deeper, where others put it.
fn revert_data(data: &Value) -> Option<Vec<u8>> {
    let text = data.as_str().or_else(|| data.get("data")?.as_str())?;
    hex_bytes(text.strip_prefix("Reverted ").unwrap_or(text)).filter(|bytes| !bytes.is_empty())
}

/// `0x` and hex digits. A quantity may have an odd number of them.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    match digits.len() % 2 {
        0 => hex::decode(digits).ok(),
        _ => hex::decode(format!("0{digits}")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_for_its_own_question() {
        let answer = br#"{"jsonrpc":"2.0","id":44,"result":"0x13882"}"#;
        assert_eq!(
            read(44, answer),
            Ok(RpcAnswer::Returned(vec![1, 0x38, 0x82]))
        );
        assert_eq!(read(45, answer), Err(RpcError::OtherQuestion));
        assert_eq!(
            read(44, br#"{"id":"44","result":"0x"}"#),
            Err(RpcError::OtherQuestion)
        );
        assert_eq!(
            read(44, br#"{"result":"0x"}"#),
            Err(RpcError::OtherQuestion)
        );
    }

    #[test]
    fn a_revert_is_the_contracts_word_and_an_error_is_not() {
        let unregistered = Ok(RpcAnswer::Reverted(vec![0xed, 0xab, 0xc4, 0x0b]));
        for error in [
            r#"{"code":3,"message":"execution reverted","data":"0xedabc40b"}"#,
            r#"{"code":-32015,"message":"VM","data":"Reverted 0xedabc40b"}"#,
            r#"{"code":-32603,"message":"x","data":{"data":"0xedabc40b"}}"#,
        ] {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
            assert_eq!(read(1, answer.as_bytes()), unregistered, "{error}");
        }
        for error in [
            r#"{"code":-32005,"message":"limit exceeded"}"#,
            r#"{"code":-32005,"message":"no","data":"0x"}"#,
            r#"{"code":-32005,"message":"no","data":"many requests"}"#,
        ] {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
            assert_eq!(read(1, answer.as_bytes()), Err(RpcError::Refused(-32005)));
        }
    }

    #[test]
    fn what_is_not_json_rpc_is_refused() {
        for body in [
            "",
            "[]",
            "<html>",
            r#"{"id":1}"#,
            r#"{"id":1,"result":null}"#,
            r#"{"id":1,"result":7}"#,
            r#"{"id":1,"result":"13882"}"#,
            r#"{"id":1,"result":"0xzz"}"#,
            r#"{"id":1,"result":"0x00","error":{"code":1}}"#,
        ] {
            assert_eq!(read(1, body.as_bytes()), Err(RpcError::Malformed), "{body}");
        }
        let long = format!(
            r#"{{"id":1,"result":"0x{}"}}"#,
            "0".repeat(MAX_ANSWER_BYTES)
        );
        assert_eq!(read(1, long.as_bytes()), Err(RpcError::Malformed));
    }
}
