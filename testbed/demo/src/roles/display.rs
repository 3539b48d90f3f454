// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The display: shows the camera's frames on cirrus, by KMS.
//!
//! A frame is locked for as long as it is on the screen. The commit that shows the next one makes a fence, which
//! signals when the next one is on the screen. It is the release fence of the frame before.

use std::os::fd::{AsFd, OwnedFd};

use buffersync_client::{fence, Access};
use buffersync_testbed_guest::kms::Display;
use buffersync_testbed_guest::{picture, sync_file};

use super::{next_channel, wait_for_parent, Buffers, Held, Report, Task, PATIENCE};
use crate::span::now;
use crate::Failure;

/// The frame that is on the screen, or will be when its fence has signalled.
struct Shown {
    held: Held,
    frame: u64,
    fence: OwnedFd,
}

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let mut camera = next_channel(&mut task)?;
    let memory = camera.receive(picture::BYTES)?;
    // Before the display: the card closes first, so no lock ends while it still shows the picture.
    let mut before: Option<Shown> = None;
    let display = Display::open(picture::WIDTH as u32, picture::HEIGHT as u32)?;
    println!("device {}", display.driver);
    let pictures = memory.iter().map(|buffer| display.import(buffer));
    let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let mut buffers = Buffers::open(&task, "display")?;
    buffers.add(&memory, "in", Access::DmaRead)?;

    let mut report = Report::default();
    // When each frame came on the screen.
    let mut times = Vec::new();
    while report.frames < task.frames {
        let slot = camera.next()?;
        let request = buffers.ask(&[slot.index])?;
        // The display is in the queue: see `main.rs`.
        camera.give_back(slot)?;
        let held = request.wait()?;
        // The card takes one page flip at a time.
        if let Some(before) = &before {
            times.push(on_screen(before)?);
        }
        let acquire = held.acquire_fence()?;
        let picture = *pictures.get(slot.index).ok_or("no such buffer")?;
        let fence = display.show(picture, acquire.as_ref().map(AsFd::as_fd))?;
        if let Some(before) = before.take() {
            let gone = fence.try_clone()?;
            report.spans.push(before.held.unlock(Some(gone), before.frame, (0, 0), false)?);
        }
        before = Some(Shown { held, frame: slot.frame, fence });
        report.frames += 1;
    }
    if let Some(last) = before {
        times.push(on_screen(&last)?);
        // The parent may want a picture of the screen.
        wait_for_parent()?;
        display.off()?;
        report.spans.push(last.held.unlock(None, last.frame, (0, 0), false)?);
    }
    times.push(now());
    for (span, time) in report.spans.iter_mut().zip(times.windows(2)) {
        span.work = (time[0], time[1]);
    }
    Ok(report)
}

/// Waits until the frame is on the screen. Returns since when it has been.
fn on_screen(shown: &Shown) -> Result<u64, Failure> {
    fence::wait(&shown.fence, PATIENCE)?;
    Ok(sync_file::signalled_at(&shown.fence)?)
}
