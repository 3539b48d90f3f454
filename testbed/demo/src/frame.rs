// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A frame: 1920x1080 NV12, with a content in which any mixture of two frames is noticed.

use buffersync_testbed_guest::dmabuf::Mapping;

/// The size of a 1920x1080 NV12 image: one byte of luma per pixel, and half as much chroma.
pub const BYTES: usize = 1920 * 1080 * 3 / 2;

const MAGIC: u64 = 0x4e56_3132_6672_616d;
/// The words of the header: magic, sequence number, checksum of the payload.
const HEADER: usize = 3;

/// The memory has another frame than expected, or a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn;

/// Memory that holds a frame.
pub trait Words {
    fn count(&self) -> usize;
    fn get(&self, word: usize) -> u64;
    fn set(&mut self, word: usize, value: u64);
}

impl Words for Mapping {
    fn count(&self) -> usize {
        self.words()
    }
    fn get(&self, word: usize) -> u64 {
        self.read(word)
    }
    fn set(&mut self, word: usize, value: u64) {
        self.write(word, value);
    }
}

fn mix(sum: u64, word: u64) -> u64 {
    (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The start value of a checksum, so that it covers the sequence number too.
fn begin(sequence: u64) -> u64 {
    mix(MAGIC, sequence)
}

/// Writes frame `sequence`, like the sensor's DMA.
pub fn fill(memory: &mut impl Words, sequence: u64) {
    let seed = begin(sequence);
    memory.set(0, MAGIC);
    memory.set(1, sequence);
    let mut sum = seed;
    for word in HEADER..memory.count() {
        let value = seed ^ (word as u64).wrapping_mul(0x0101_0101_0101_0101);
        memory.set(word, value);
        sum = mix(sum, value);
    }
    memory.set(2, sum);
}

/// Reads a whole buffer and checks that it has frame `sequence`, in one piece.
pub fn verify(memory: &impl Words, sequence: u64) -> Result<(), Torn> {
    let header = [memory.get(0), memory.get(1), memory.get(2)];
    let sum =
        (HEADER..memory.count()).fold(begin(sequence), |sum, word| mix(sum, memory.get(word)));
    check(header, sequence, sum)
}

/// Makes an output frame from an input frame, and checks the input like [`verify`]. The output is a
/// whole frame in any case, so a torn input is counted once.
pub fn encode(input: &impl Words, output: &mut impl Words, sequence: u64) -> Result<(), Torn> {
    let header = [input.get(0), input.get(1), input.get(2)];
    output.set(0, MAGIC);
    output.set(1, sequence);
    let (mut sum_in, mut sum_out) = (begin(sequence), begin(sequence));
    for word in HEADER..input.count().min(output.count()) {
        let value = input.get(word);
        sum_in = mix(sum_in, value);
        let coded = !value;
        output.set(word, coded);
        sum_out = mix(sum_out, coded);
    }
    output.set(2, sum_out);
    check(header, sequence, sum_in)
}

fn check([magic, is, sum]: [u64; HEADER], sequence: u64, found: u64) -> Result<(), Torn> {
    (magic == MAGIC && is == sequence && sum == found).then_some(()).ok_or(Torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Words for Vec<u64> {
        fn count(&self) -> usize {
            self.len()
        }
        fn get(&self, word: usize) -> u64 {
            self[word]
        }
        fn set(&mut self, word: usize, value: u64) {
            self[word] = value;
        }
    }

    #[test]
    fn a_whole_frame_is_accepted_under_its_own_number_only() {
        let mut memory = vec![0; 64];
        fill(&mut memory, 7);
        assert_eq!(verify(&memory, 7), Ok(()));
        assert_eq!(verify(&memory, 6), Err(Torn));
    }

    #[test]
    fn a_mixture_of_two_frames_is_torn_wherever_it_changes() {
        let (mut old, mut new) = (vec![0; 64], vec![0; 64]);
        fill(&mut old, 7);
        fill(&mut new, 11);
        // The first word is equal in both frames.
        for cut in 2..64 {
            let mixed: Vec<u64> = new[..cut].iter().chain(&old[cut..]).copied().collect();
            assert_eq!(verify(&mixed, 7), Err(Torn), "{cut}");
            assert_eq!(verify(&mixed, 11), Err(Torn), "{cut}");
        }
    }

    #[test]
    fn the_codec_notices_torn_input_and_writes_whole_output() {
        let (mut input, mut output) = (vec![0; 64], vec![0; 64]);
        fill(&mut input, 3);
        assert_eq!(encode(&input, &mut output, 3), Ok(()));
        assert_eq!(verify(&output, 3), Ok(()));
        input[40] ^= 1;
        assert_eq!(encode(&input, &mut output, 3), Err(Torn));
        assert_eq!(verify(&output, 3), Ok(()));
    }
}
