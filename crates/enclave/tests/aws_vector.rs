//! Our writer against AWS's own builder: the same parts, the same file, the same registers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use adyton_enclave::eif::Eif;
use adyton_enclave::measure::Measurements;

const RECORDED: &[u8] = include_bytes!("vectors/aws-builder-0.8.1.eif");
const REGISTERS: &str = include_str!("vectors/aws-builder-0.8.1.json");

/// See `vectors/README.md`.
fn parts() -> Eif {
    let metadata = r#"{"ImageName":"adyton","ImageVersion":"0.1.0","BuildMetadata":{"BuildTime":"1970-01-01T00:00:00+00:00","BuildTool":"adyton-enclave","BuildToolVersion":"0.1.0","OperatingSystem":"Linux","KernelVersion":"6.12.117"},"DockerInfo":{},"CustomMetadata":{}}"#;
    Eif {
        kernel: (0..1000_u32).map(|i| (i * 7 % 251) as u8).collect(),
        cmdline: "console=ttyS0 reboot=k panic=-1".to_owned(),
        metadata: metadata.as_bytes().to_vec(),
        ramdisks: vec![
            b"the first ramdisk\n".to_vec(),
            (0..777_u32).map(|i| (i * 13 % 256) as u8).collect(),
        ],
        signature: None,
    }
}

#[test]
fn the_file_is_that_of_aws_to_the_byte() {
    assert!(parts().to_bytes() == RECORDED);
}

#[test]
fn the_file_of_aws_is_read() {
    assert_eq!(Eif::parse(RECORDED).unwrap(), parts());
}

#[test]
fn the_registers_are_those_of_aws() {
    let recorded: serde_json::Value = serde_json::from_str(REGISTERS).unwrap();
    let measured = Measurements::of(&Eif::parse(RECORDED).unwrap());
    assert_eq!(serde_json::to_value(measured).unwrap(), recorded);
}

#[test]
fn metadata_is_not_measured_and_everything_else_is() {
    let honest = Measurements::of(&parts());
    let mut other = parts();
    other.metadata = b"{}".to_vec();
    assert_eq!(Measurements::of(&other), honest);
    let changes: [fn(&mut Eif); 4] = [
        |eif| eif.kernel[0] ^= 1,
        |eif| eif.cmdline.push(' '),
        |eif| eif.ramdisks[0][0] ^= 1,
        |eif| eif.ramdisks[1][0] ^= 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut other = parts();
        change(&mut other);
        let other = Measurements::of(&other);
        assert_ne!(other.pcr0, honest.pcr0, "{index}");
        // PCR1 is the boot, PCR2 the application.
        assert_eq!(other.pcr1 != honest.pcr1, index < 3, "{index}");
        assert_eq!(other.pcr2 != honest.pcr2, index == 3, "{index}");
    }
}
