// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The picture of the camera, and how a reader sees from it alone if it is whole.
//!
//! vivid paints vertical colour bars and moves them by eight pixels for each frame ([`crate::v4l2`] asks for that).
//! So all rows of a frame are alike, and the rows of two frames are not. A reader that finds two kinds of rows has
//! parts of several captures: the frame is *torn*. Above the bars is vivid's text, with the frame's time and number;
//! its rows are left out.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use crate::dmabuf::Mapping;

/// The size of a frame.
pub const WIDTH: usize = 640;
pub const HEIGHT: usize = 480;
/// Bytes of a row: blue, green, red, nothing.
pub const STRIDE: usize = 4 * WIDTH;
/// Bytes of a frame.
pub const BYTES: usize = STRIDE * HEIGHT;

/// vivid writes one line of text, 16 rows high, near the top. 48 rows leave room for two more.
const TEXT_ROWS: usize = 48;
/// A row has at least so many colours, wherever the bars are.
const COLOURS: usize = 7;

/// Parts of the picture are of different captures, or it is not the picture that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn;

/// The rows that a reader has seen so far, of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The hash of the first one.
    first: Option<u64>,
    differ: bool,
}

impl Rows {
    /// Looks at a row.
    pub fn see(&mut self, number: usize, row: &[u8]) {
        if number >= TEXT_ROWS {
            let hash = hash(row);
            self.differ |= *self.first.get_or_insert(hash) != hash;
        }
    }

    /// A number of the capture: frames with other bars have other numbers.
    pub fn capture(&self) -> Result<u64, Torn> {
        self.first.filter(|_| !self.differ).ok_or(Torn)
    }
}

/// Reads a row with the CPU.
pub fn row(memory: &Mapping, number: usize) -> [u8; STRIDE] {
    let mut row = [0; STRIDE];
    for (nth, bytes) in row.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&memory.read(number * STRIDE / 8 + nth).to_ne_bytes());
    }
    row
}

/// Reads a whole frame with the CPU. Returns the number of its capture.
pub fn look(memory: &Mapping) -> Result<u64, Torn> {
    let mut rows = Rows::default();
    (0..HEIGHT).for_each(|number| rows.see(number, &row(memory, number)));
    rows.capture()
}

/// Tells if these pixels, of three bytes each, are one whole frame of the camera. For screenshots.
pub fn is_whole(pixels: &[u8]) -> bool {
    let mut rows = Rows::default();
    let all = pixels.chunks_exact(3 * WIDTH);
    let last: Vec<&[u8]> = all.clone().last().unwrap_or_default().chunks_exact(3).collect();
    let colours: BTreeSet<&[u8]> = last.into_iter().collect();
    all.enumerate().for_each(|(number, row)| rows.see(number, row));
    pixels.len() == 3 * WIDTH * HEIGHT && rows.capture().is_ok() && colours.len() >= COLOURS
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight bars, moved to the right.
    fn bars(moved: usize) -> Vec<u8> {
        let bar = |x: usize| ((x + WIDTH - moved) % WIDTH / 80) as u8;
        let row: Vec<u8> = (0..WIDTH).flat_map(|x| [bar(x) & 1, bar(x) & 2, bar(x) & 4]).collect();
        row.repeat(HEIGHT)
    }

    #[test]
    fn a_picture_of_two_captures_is_torn_wherever_it_changes() {
        let (old, new) = (bars(8), bars(16));
        assert!(is_whole(&old) && is_whole(&new));
        for cut in [TEXT_ROWS + 1, HEIGHT / 2, HEIGHT - 1] {
            let cut = cut * 3 * WIDTH;
            assert!(!is_whole(&[&new[..cut], &old[cut..]].concat()));
        }
    }

    #[test]
    fn the_text_is_no_part_of_it_and_a_blank_screen_is_no_frame() {
        let mut picture = bars(0);
        picture[TEXT_ROWS * 3 * WIDTH - 1] ^= 1;
        assert!(is_whole(&picture));
        assert!(!is_whole(&vec![0; 3 * WIDTH * HEIGHT]));
        assert!(!is_whole(&[]));
    }

    #[test]
    fn camera_and_display_have_one_code_for_the_format() {
        assert_eq!(crate::v4l2::uapi::XBGR32, crate::kms::uapi::XRGB8888);
    }

    #[test]
    fn captures_have_numbers_of_their_own() {
        let number = |moved| {
            let mut rows = Rows::default();
            let picture = bars(moved);
            picture.chunks_exact(3 * WIDTH).enumerate().for_each(|(n, row)| rows.see(n, row));
            rows.capture().unwrap()
        };
        let numbers: BTreeSet<u64> = (0..80).map(|n| number(8 * n)).collect();
        assert_eq!(numbers.len(), 80);
    }
}
