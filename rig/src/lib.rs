#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod console;
pub mod emulator;
pub mod image;
pub mod monitor;
pub mod pki;
pub mod system_calls;
pub mod tap;
pub mod tools;

pub use emulator::{Emulator, Machine};
pub use image::Image;
pub use pki::TestPki;
pub use tools::Tools;
