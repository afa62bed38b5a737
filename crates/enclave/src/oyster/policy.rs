//! The policy that trusts one compose file on one base image.
//!
//! Guarantees: every register that says what runs is named by value. Refuses to know TOML beyond the few lines it writes.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256, Sha384};

use super::{BaseImage, Compose, InitParams};

/// The text of a policy file, with what it rests on in comments. With the node's configuration, register 17 is named, too.
#[must_use]
pub fn policy(
    compose: &Compose,
    params: &InitParams,
    base: &BaseImage,
    config: Option<&[u8]>,
) -> String {
    let mut text =
        String::from("# Marlin Oyster: an enclave that runs exactly this compose file.\n");
    for image in compose.images() {
        // Both were checked to be printable when the file was read.
        let _ = writeln!(
            text,
            "# runs {}: {}",
            image.service.escape_debug(),
            image.image
        );
    }
    let _ = writeln!(
        text,
        "# init params digest {}",
        hex::encode(params.digest())
    );
    let _ = writeln!(text, "# image id {}", hex::encode(params.image_id(base)));
    text.push_str("version = 1\n\n[[nitro]]\nname = \"adyton on Marlin Oyster\"\n");
    let mut registers: Vec<(u8, String)> = (0..).zip(base.pcrs().map(hex::encode)).collect();
    registers.push((16, hex::encode(params.pcr16())));
    if let Some(config) = config {
        let mut register = Sha384::new();
        register.update([0; 48]);
        register.update(Sha256::digest(config));
        registers.push((17, hex::encode(register.finalize())));
    } else {
        text.push_str(
            "# register 17, the node's configuration, is left open: name it with --config\n",
        );
    }
    text.push_str("[nitro.pcrs]\n");
    for (index, value) in registers {
        let _ = writeln!(text, "{index} = \"{value}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_every_register_by_value() {
        let digest = "ab".repeat(32);
        let text = format!("services:\n  node:\n    image: n@sha256:{digest}\n");
        let compose = Compose::parse(&text).unwrap();
        let params = InitParams::new(text.into_bytes(), vec![]).unwrap();
        let base: BaseImage = "blue-v3-amd64".parse().unwrap();
        let open = policy(&compose, &params, &base, None);
        assert!(open.contains("\n0 = \"7d08525c"));
        assert!(open.contains(&format!("\n16 = \"{}\"", hex::encode(params.pcr16()))));
        assert!(!open.contains("\n17 = "));
        assert!(open.contains(&format!("# runs node: n@sha256:{digest}\n")));
        let whole = policy(&compose, &params, &base, Some(b"listen = \"a\""));
        assert!(whole.contains("\n17 = \""));
    }
}
