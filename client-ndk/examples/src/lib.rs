// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The frames of the examples: every word depends on the frame's number, so a torn or stale frame is
//! noticed. `c/frame.h` and `java/Preview.java` have the same function.

/// One word of a frame.
pub fn frame_word(number: u32, at: usize) -> u32 {
    number.wrapping_mul(0x9e37_79b1).wrapping_add(at as u32)
}

/// The words of a buffer, in the machine's byte order.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let words = bytes.chunks_exact(4);
    words.map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

/// Writes a frame.
pub fn write_frame(bytes: &mut [u8], number: u32, filter: fn(u32) -> u32) {
    for (at, word) in bytes.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&filter(frame_word(number, at)).to_ne_bytes());
    }
}

/// Checks that a whole buffer is this frame.
///
/// # Errors
/// Names the first word that differs.
pub fn check_frame(bytes: &[u8], number: u32, filter: fn(u32) -> u32) -> Result<(), String> {
    match words(bytes).enumerate().find(|(at, word)| *word != filter(frame_word(number, *at))) {
        None => Ok(()),
        Some((at, word)) => Err(format!("frame {number} is torn: word {at} is {word:#x}")),
    }
}
