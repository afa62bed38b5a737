//! What is in the enclave: the complete list.
//!
//! Guarantees: besides the kernel there are two programs and two empty folders, and nothing else: no shell, no library,
//! no file that could be read. The image is not larger than [`MAX_BYTES`]. Refuses to know where the parts come from.

use serde::Serialize;

use crate::cpio::Archive;
use crate::eif::Eif;

/// What the image is called.
pub const NAME: &str = "adyton";

/// Largest image.
pub const MAX_BYTES: usize = 48_000_000;

/// The kernel's command line; it is measured. The hypervisor appends the places of its devices.
///
/// - `console`, `quiet`, `loglevel`: reasons on the serial console, nothing else. A production enclave's cannot be read.
/// - `reboot=k panic=-1`: when PID 1 ends, or the kernel fails, the enclave ends at once.
/// - `init_on_alloc=1 init_on_free=1`: pages and slabs are wiped when they are given back, socket buffers too.
/// - `random.trust_*=off`: the kernel's randomness counts as such when the module's has come, not before.
pub const CMDLINE: &str = "console=ttyS0 quiet loglevel=3 reboot=k panic=-1 init_on_alloc=1 init_on_free=1 \
     random.trust_cpu=off random.trust_bootloader=off";

/// The programs in an image.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The first program.
    pub init: Vec<u8>,
    /// What it becomes.
    pub node: Vec<u8>,
}

/// The image of some programs on a kernel.
///
/// # Errors
/// [`TooLarge`] above [`MAX_BYTES`].
pub fn compose(
    kernel: Vec<u8>,
    kernel_version: &str,
    programs: Programs,
) -> Result<Vec<u8>, TooLarge> {
    let eif = Eif {
        kernel,
        cmdline: CMDLINE.to_owned(),
        metadata: Metadata::new(kernel_version).to_json(),
        ramdisks: vec![
            boot_ramdisk(programs.init).to_bytes(),
            node_ramdisk(programs.node).to_bytes(),
        ],
        signature: None,
    };
    let bytes = eif.to_bytes();
    match bytes.len() {
        0..=MAX_BYTES => Ok(bytes),
        bytes => Err(TooLarge { bytes }),
    }
}

/// Measured in PCR1: what prepares the machine.
fn boot_ramdisk(init: Vec<u8>) -> Archive {
    Archive::new()
        .with_folder("dev")
        .with_program("init", init)
        .with_folder("proc")
}

/// Measured in PCR2: the node.
fn node_ramdisk(node: Vec<u8>) -> Archive {
    Archive::new().with_program("adyton-node", node)
}

/// The image would not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image has {bytes} bytes; {MAX_BYTES} are allowed")]
pub struct TooLarge {
    bytes: usize,
}

/// What AWS's tools insist on finding in a file (`nitro-cli describe-eif`). It is not measured and proves nothing, so it
/// says nothing that differs between two builds.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    image_name: &'a str,
    image_version: &'a str,
    build_metadata: BuildMetadata<'a>,
    docker_info: Nothing,
    custom_metadata: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BuildMetadata<'a> {
    build_time: &'a str,
    build_tool: &'a str,
    build_tool_version: &'a str,
    operating_system: &'a str,
    kernel_version: &'a str,
}

#[derive(Serialize)]
struct Nothing {}

impl<'a> Metadata<'a> {
    fn new(kernel_version: &'a str) -> Self {
        Self {
            image_name: NAME,
            image_version: env!("CARGO_PKG_VERSION"),
            build_metadata: BuildMetadata {
                build_time: "1970-01-01T00:00:00+00:00",
                build_tool: env!("CARGO_PKG_NAME"),
                build_tool_version: env!("CARGO_PKG_VERSION"),
                operating_system: "Linux",
                kernel_version,
            },
            docker_info: Nothing {},
            custom_metadata: Nothing {},
        }
    }

    fn to_json(&self) -> Vec<u8> {
        // Texts and structs only: there is nothing that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio;

    fn programs(bytes: usize) -> Programs {
        Programs {
            init: vec![1; 10],
            node: vec![2; bytes],
        }
    }

    #[test]
    fn an_image_holds_two_programs_two_folders_and_nothing_else() {
        let image = compose(b"kernel".to_vec(), "6.12.117", programs(20)).unwrap();
        let eif = Eif::parse(&image).unwrap();
        let names: Vec<Vec<String>> = eif
            .ramdisks
            .iter()
            .map(|disk| {
                let items = cpio::read(disk).unwrap();
                items.into_iter().map(|item| item.name).collect()
            })
            .collect();
        assert_eq!(names, [vec!["dev", "init", "proc"], vec!["adyton-node"]]);
    }

    #[test]
    fn one_byte_too_much_is_refused() {
        let overhead = compose(Vec::new(), "6", programs(0)).unwrap().len();
        // The archive pads to four bytes.
        let most = (MAX_BYTES - overhead) / 4 * 4;
        assert!(compose(Vec::new(), "6", programs(most)).is_ok());
        assert!(compose(Vec::new(), "6", programs(most + 4)).is_err());
    }

    #[test]
    fn the_command_line_is_one_line_of_words() {
        assert!(CMDLINE.split(' ').all(|word| !word.is_empty()));
        assert!(CMDLINE.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}
