// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The encoder: reads a frame with the CPU, row by row while it encodes, and writes its stream into a dma-buf.
//!
//! It takes its time, as an encoder of a fixed clock does: also on a fast machine the camera is faster. In the
//! control run this is what tears the frames.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use buffersync_testbed_guest::dmabuf::Mapping;
use buffersync_testbed_guest::picture::{self, Rows, HEIGHT, WIDTH};
use jpeg_encoder::{rgb_to_ycbcr, Encoder, ImageBuffer, JpegColorType};

use crate::Failure;

/// The size of a buffer for a stream: several times what a frame needs.
pub const BYTES: usize = 256 * 1024;
/// Colour bars are sharp edges, which a low quality blurs.
const QUALITY: u8 = 90;

/// A frame takes at least a hundred milliseconds: three frames of the camera.
const ROW: Duration = Duration::from_micros(210);

/// A stream that was written.
pub struct Stream {
    pub bytes: usize,
    pub hash: u64,
    /// The rows of the frame as the encoder has read them.
    pub rows: Rows,
}

/// Encodes a frame.
pub fn encode(frame: &Mapping, stream: &mut Mapping) -> Result<Stream, Failure> {
    let rows = RefCell::default();
    let mut output = Output { memory: stream, at: 0, hasher: DefaultHasher::new() };
    Encoder::new(&mut output, QUALITY).encode_image(Input {
        memory: frame,
        rows: &rows,
        began: Instant::now(),
    })?;
    let Output { at: bytes, hasher, .. } = output;
    Ok(Stream { bytes, hash: hasher.finish(), rows: rows.into_inner() })
}

/// The hash of a stream that was read, to compare with [`Stream::hash`].
pub fn hash(stream: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    stream.iter().for_each(|byte| hasher.write_u8(*byte));
    hasher.finish()
}

struct Input<'a> {
    memory: &'a Mapping,
    rows: &'a RefCell<Rows>,
    began: Instant,
}

impl ImageBuffer for Input<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        WIDTH as u16
    }

    fn height(&self) -> u16 {
        HEIGHT as u16
    }

    fn fill_buffers(&self, number: u16, [luma, blue, red, _]: &mut [Vec<u8>; 4]) {
        thread::sleep((ROW * number.into()).saturating_sub(self.began.elapsed()));
        let row = picture::row(self.memory, number.into());
        self.rows.borrow_mut().see(number.into(), &row);
        for pixel in row.chunks_exact(4) {
            let (y, cb, cr) = rgb_to_ycbcr(pixel[2], pixel[1], pixel[0]);
            luma.push(y);
            blue.push(cb);
            red.push(cr);
        }
    }
}

struct Output<'a> {
    memory: &'a mut Mapping,
    at: usize,
    hasher: DefaultHasher,
}

impl io::Write for &mut Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at + bytes.len() > BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for byte in bytes {
            self.memory.write_byte(self.at, *byte);
            self.hasher.write_u8(*byte);
            self.at += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
