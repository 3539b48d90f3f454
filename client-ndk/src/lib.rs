//! Rust client of the IBufferSync HAL.
