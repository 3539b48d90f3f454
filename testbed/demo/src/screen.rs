// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The picture on the screen, as QEMU sees it. The testbed takes it when this program prints a line for it
//! (`SCREENSHOT` in testbed/src/vm.rs), and puts it into the out folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use buffersync_testbed_guest::picture::{self, HEIGHT, WIDTH};

use crate::Failure;

/// A picture that is taken while the driver copies a frame to the card has parts of two, as a monitor would show. So
/// there are several tries.
const TRIES: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// Saves a picture of the screen as `screen.png` in this folder, which is below the testbed's out folder. It has to
/// be a whole frame of the camera.
pub fn shoot(folder: &Path) -> Result<(), Failure> {
    let out = std::env::var_os("BUFFERSYNC_OUT").ok_or("BUFFERSYNC_OUT is not set")?;
    for attempt in 1..=TRIES {
        let file = folder.join(format!("screen-{attempt}.ppm"));
        let _ = fs::remove_file(&file);
        let name = file.strip_prefix(&out);
        let name = name.map_err(|_| "--out has to be below BUFFERSYNC_OUT for a screenshot")?;
        println!("@@ screenshot {}", name.display());
        std::io::stdout().flush()?;
        let image = wait_for(&file)?;
        fs::remove_file(&file)?;
        if let Some(pixels) = pixels(&image).filter(|pixels| picture::is_whole(pixels)) {
            return save(pixels, &folder.join("screen.png"));
        }
    }
    let frame = format!("whole frame of the camera, {WIDTH} by {HEIGHT}");
    Err(format!("in {TRIES} screenshots there is no {frame}").into())
}

fn wait_for(file: &Path) -> Result<Vec<u8>, Failure> {
    let begin = Instant::now();
    while !file.exists() {
        if begin.elapsed() > PATIENCE {
            return Err("the testbed takes no screenshot".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(fs::read(file)?)
}

/// The pixels of a PPM of a frame's size.
fn pixels(image: &[u8]) -> Option<&[u8]> {
    image.strip_prefix(format!("P6\n{WIDTH} {HEIGHT}\n255\n").as_bytes())
}

fn save(pixels: &[u8], file: &Path) -> Result<(), Failure> {
    let mut encoder = png::Encoder::new(File::create(file)?, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pixels_of_a_screen_of_this_size_are_found() {
        let image = [b"P6\n640 480\n255\n", &[7; 3 * WIDTH * HEIGHT][..]].concat();
        assert_eq!(pixels(&image).unwrap().len(), 3 * WIDTH * HEIGHT);
        assert!(pixels(b"P6\n720 400\n255\n").is_none());
    }
}
