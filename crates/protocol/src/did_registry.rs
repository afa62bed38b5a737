//! Messages of the on-chain DID registry: call data, results and packed signature texts
//! (`spec/protocol.md` §7). Sending them is a resolver's work (`adyton-resolver`).

use crate::address::Address;
use crate::did::Anchor;

/// First four bytes of Keccak-256 over a function signature.
type Selector = [u8; 4];

const LOOKUP: Selector = [0xd4, 0xb6, 0xb5, 0xda];
const NONCE: Selector = [0x70, 0xae, 0x92, 0xd2];
const REGISTER: Selector = [0xa6, 0xac, 0x97, 0x0b];
const REVOKE: Selector = [0x9a, 0x97, 0x38, 0x44];
const FIND_DID: Selector = [0xfd, 0xe0, 0x78, 0x08];
const USER_NAMES: Selector = [0x6f, 0xc7, 0x42, 0x11];

/// Revert data of a DID that is absent or revoked.
pub const UNREGISTERED_DID: Selector = [0xed, 0xab, 0xc4, 0x0b];

/// Most endpoints read from a lookup result.
pub const MAX_ENDPOINTS: usize = 64;
/// Longest endpoint read from a lookup result, in bytes.
pub const MAX_ENDPOINT_BYTES: usize = 2048;

/// The registry's contract on a chain (`spec/protocol.md` §2.1).
pub const fn registry_contract(anchor: Anchor) -> Address {
    Address::from_bytes(match anchor {
        Anchor::Polpos => [
            0x6f, 0xf1, 0x80, 0xef, 0x62, 0xfa, 0x57, 0xe6, 0x11, 0xe9, 0x1b, 0xdd, 0xad, 0xad,
            0xb6, 0x63, 0x5d, 0x6b, 0x9a, 0xf7,
        ],
        Anchor::Polamoy => [
            0x5c, 0xc5, 0xcf, 0x75, 0x7c, 0x0f, 0x2a, 0xf7, 0xb3, 0x93, 0x50, 0x93, 0xf8, 0x8e,
            0xaf, 0x45, 0xc5, 0x21, 0x00, 0x02,
        ],
    })
}

/// Where a chain can be asked by whoever has no node of it (`spec/protocol.md` §2.1). It is believed in nothing but places.
pub const fn public_rpc(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Polpos => "https://polygon-rpc.com",
        Anchor::Polamoy => "https://rpc-amoy.polygon.technology",
    }
}

/// The contract's answer is not of the expected shape, or exceeds the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DID registry's answer is malformed")]
pub struct MalformedAnswer;

/// What the chain keeps for a DID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Who may change it.
    pub controller: Address,
    /// URLs of the DID document, complete with path.
    pub endpoints: Vec<String>,
}

/// Call data of `lookup(address)`.
pub fn lookup_call(did: &Address) -> Vec<u8> {
    address_call(LOOKUP, did)
}

/// Call data of `nonce(address)`.
pub fn nonce_call(did: &Address) -> Vec<u8> {
    address_call(NONCE, did)
}

/// Call data of `getUserNameList(address)` of the name registry.
pub fn user_names_call(did: &Address) -> Vec<u8> {
    address_call(USER_NAMES, did)
}

/// Call data of `findDID(string)` of the name registry.
pub fn find_did_call(name: &str) -> Vec<u8> {
    let mut data = FIND_DID.to_vec();
    data.extend(word(32));
    push_bytes(&mut data, name.to_lowercase().as_bytes());
    data
}

/// Call data of `register(address, string[], bytes)`.
pub fn register_call(did: &Address, endpoints: &[String], signature: &[u8; 65]) -> Vec<u8> {
    let list = string_list(endpoints);
    let mut data = REGISTER.to_vec();
    data.extend(address_word(did));
    data.extend(word(96));
    data.extend(word(96 + list.len()));
    data.extend(list);
    push_bytes(&mut data, signature);
    data
}

/// Call data of `revoke(address, bytes)`.
pub fn revoke_call(did: &Address, signature: &[u8; 65]) -> Vec<u8> {
    let mut data = REVOKE.to_vec();
    data.extend(address_word(did));
    data.extend(word(64));
    push_bytes(&mut data, signature);
    data
}

/// The bytes whose Keccak digest signs a registration. The signer is the DID address itself.
pub fn register_message(did: &Address, endpoints: &[String], nonce: u64) -> Vec<u8> {
    let mut message = did.as_bytes().to_vec();
    message.push(b'/');
    for endpoint in endpoints {
        message.extend(endpoint.as_bytes());
        message.push(b'/');
    }
    message.extend(uint_word(nonce));
    message
}

/// The bytes whose Keccak digest signs a revocation. The signer is the controller.
pub fn revoke_message(did: &Address, nonce: u64) -> Vec<u8> {
    [did.as_bytes().as_slice(), b"/revoke/", &uint_word(nonce)].concat()
}

/// The bytes whose Keccak digest signs a change of controller. The signer is the old controller.
pub fn set_controller_message(did: &Address, controller: &Address, nonce: u64) -> Vec<u8> {
    let parts: [&[u8]; 5] = [
        did.as_bytes(),
        b"/setController/",
        controller.as_bytes(),
        b"/",
        &uint_word(nonce),
    ];
    parts.concat()
}

/// Reads the result of `lookup`: `(address, string[])`.
pub fn parse_lookup_result(data: &[u8]) -> Result<Registration, MalformedAnswer> {
    let controller = data
        .get(12..32)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(MalformedAnswer)?;
    let list = usize_at(data, 32)?;
    let count = usize_at(data, list)?;
    if count > MAX_ENDPOINTS {
        return Err(MalformedAnswer);
    }
    let heads = list.checked_add(32).ok_or(MalformedAnswer)?;
    let endpoints = (0..count)
        .map(|i| {
            let offset = usize_at(data, heads + i * 32)?;
            let at = heads.checked_add(offset).ok_or(MalformedAnswer)?;
            let length = usize_at(data, at)?;
            if length > MAX_ENDPOINT_BYTES {
                return Err(MalformedAnswer);
            }
            let bytes = data.get(at + 32..at + 32 + length).ok_or(MalformedAnswer)?;
            String::from_utf8(bytes.to_vec()).map_err(|_| MalformedAnswer)
        })
        .collect::<Result<_, _>>()?;
    Ok(Registration {
        controller: Address::from_bytes(controller),
        endpoints,
    })
}

fn address_call(selector: Selector, address: &Address) -> Vec<u8> {
    let mut data = selector.to_vec();
    data.extend(address_word(address));
    data
}

fn address_word(address: &Address) -> [u8; 32] {
    let mut word = [0; 32];
    word.split_at_mut(12).1.copy_from_slice(address.as_bytes());
    word
}

fn uint_word(n: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word.split_at_mut(24).1.copy_from_slice(&n.to_be_bytes());
    word
}

fn word(n: usize) -> [u8; 32] {
    uint_word(n as u64)
}

/// A length word, the bytes, and zeros to a multiple of 32.
fn push_bytes(data: &mut Vec<u8>, bytes: &[u8]) {
    data.extend(word(bytes.len()));
    data.extend(bytes);
    data.resize(
        data.len() + bytes.len().next_multiple_of(32) - bytes.len(),
        0,
    );
}

fn string_list(items: &[String]) -> Vec<u8> {
    let mut heads = word(items.len()).to_vec();
    let mut tails = Vec::new();
    for item in items {
        heads.extend(word(items.len() * 32 + tails.len()));
        push_bytes(&mut tails, item.as_bytes());
    }
    heads.extend(tails);
    heads
}

/// A 32-byte big-endian word that must be a small number (an offset or a length).
fn usize_at(data: &[u8], at: usize) -> Result<usize, MalformedAnswer> {
    let end = at.checked_add(32).ok_or(MalformedAnswer)?;
    let (zeros, number) = data.get(at..end).ok_or(MalformedAnswer)?.split_at(28);
    if zeros.iter().any(|b| *b != 0) {
        return Err(MalformedAnswer);
    }
    let bytes: [u8; 4] = number.try_into().map_err(|_| MalformedAnswer)?;
    let number = u32::from_be_bytes(bytes) as usize;
    // Offsets beyond the data cannot be meant, and the sums above must not overflow.
    if number > data.len() {
        Err(MalformedAnswer)
    } else {
        Ok(number)
    }
}
