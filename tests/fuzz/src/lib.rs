//! What cargo-fuzz, the plain harness and the property tests (`tests/it/hostile.rs`) share.

pub mod harness;
pub mod mutate;
pub mod surfaces;

#[cfg(feature = "libfuzzer")]
pub use libfuzzer_sys;

/// One target: of cargo-fuzz, or a plain program.
#[macro_export]
macro_rules! target {
    ($name:literal, $surface:path) => {
        #[cfg(feature = "libfuzzer")]
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $surface(bytes));
        #[cfg(not(feature = "libfuzzer"))]
        fn main() -> std::process::ExitCode {
            $crate::harness::run($name, $surface)
        }
    };
}
