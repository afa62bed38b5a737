//! The device itself: `/dev/nsm`, one ioctl, one request at a time.
//!
//! Guarantees: answers keep to the device's size. It needs no runtime and no thread, so that the first program of a boot
//! can ask for randomness. The only `unsafe` of this crate is the ioctl at the end of the file.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;

use super::wire::{Request, Response};
use crate::attester::AttesterError;

/// Where the device is.
pub const DEVICE: &str = "/dev/nsm";

/// Longest answer the device gives.
const MAX_RESPONSE_BYTES: usize = 0x3000;

/// An open device. Opening needs the file system, asking does not: it can be opened before and used after a process has
/// given files up.
#[derive(Debug)]
pub struct NsmDevice(File);

impl NsmDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`AttesterError::NoDevice`] where this is no Nitro enclave.
    pub fn open() -> Result<Self, AttesterError> {
        Self::open_at(DEVICE)
    }

    fn open_at(device: &'static str) -> Result<Self, AttesterError> {
        let file = OpenOptions::new().read(true).write(true).open(device);
        let file = file.map_err(|source| AttesterError::NoDevice { device, source })?;
        Ok(file.into())
    }

    /// 256 bytes of the hardware's randomness, for the boot to feed to the kernel. Blocks until they are here.
    ///
    /// # Errors
    /// [`AttesterError`] when the device does not give any.
    pub fn random(&self) -> Result<Vec<u8>, AttesterError> {
        match Response::from_cbor(&self.exchange(&Request::GetRandom.to_cbor()?)?)? {
            Response::Random { random } if !random.is_empty() => Ok(random),
            _ => Err(AttesterError::Answer),
        }
    }

    /// One request and its answer, in the device's wire form.
    pub(super) fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, AttesterError> {
        exchange(&self.0, request)
    }
}

impl From<File> for NsmDevice {
    /// Takes a file that is open. If it is another one than the device, every request is an error.
    fn from(file: File) -> Self {
        Self(file)
    }
}

/// `_IOWR(0x0A, 0, struct { iovec request; iovec response; })`.
const NSM_IOCTL: u64 = (3 << 30) | ((size_of::<Message>() as u64) << 16) | (0x0A << 8);

#[repr(C)]
struct Message {
    request: libc::iovec,
    response: libc::iovec,
}

#[expect(
    unsafe_code,
    reason = "the device is asked by ioctl, which takes raw pointers"
)]
fn exchange(device: &File, request: &[u8]) -> Result<Vec<u8>, AttesterError> {
    let mut response = vec![0_u8; MAX_RESPONSE_BYTES];
    let mut message = Message {
        // The device only reads the request; an iovec has no const variant.
        request: libc::iovec {
            iov_base: request.as_ptr().cast_mut().cast(),
            iov_len: request.len(),
        },
        response: libc::iovec {
            iov_base: response.as_mut_ptr().cast(),
            iov_len: response.len(),
        },
    };
    // SAFETY: the descriptor is open for as long as `device` is borrowed; both buffers outlive the call and their
    // lengths are those of their allocations; the driver writes at most `response.iov_len` bytes and sets it to
    // what it wrote.
    let done = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            NSM_IOCTL as libc::Ioctl,
            &raw mut message,
        )
    };
    if done < 0 {
        return Err(AttesterError::Device(std::io::Error::last_os_error()));
    }
    if message.response.iov_len > response.len() {
        return Err(AttesterError::Answer);
    }
    response.truncate(message.response.iov_len);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_device_the_error_says_so() {
        let error = NsmDevice::open_at("/nonexistent/nsm").err().unwrap();
        assert_eq!(
            error.to_string(),
            "there is no /nonexistent/nsm: this machine is not an enclave of that kind"
        );
    }

    #[test]
    fn a_file_that_is_not_the_device_is_an_error() {
        let null = NsmDevice::open_at("/dev/null").unwrap();
        assert!(matches!(null.random(), Err(AttesterError::Device(_))));
    }

    #[test]
    fn the_ioctl_number_is_that_of_the_driver() {
        assert_eq!(NSM_IOCTL, 0xC020_0A00);
    }
}
