// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The codec: reads the camera's frames with the CPU, and writes each as a JPEG stream into a buffer of its own. A lock
//! has one of either. What it reads shows if the frame is whole.

use std::collections::VecDeque;

use buffersync_client::Access;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::{heap, picture};

use super::{next_channel, Buffers, Report, Task, STREAMS};
use crate::channel::Slot;
use crate::span::now;
use crate::{jpeg, Failure};

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let mut camera = next_channel(&mut task)?;
    let mut writer = next_channel(&mut task)?;
    let inputs = camera.receive(picture::BYTES)?;
    let outputs = (0..STREAMS).map(|_| heap::allocate(jpeg::BYTES));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    writer.pass(&outputs)?;
    // The stuck process gets the first one.
    if let Ok(stuck) = next_channel(&mut task) {
        stuck.pass(&outputs[..1])?;
    }
    let mut buffers = Buffers::open(&task, "codec")?;
    buffers.add(&inputs, "in", Access::Read)?;
    buffers.add(&outputs, "out", Access::Write)?;
    let frames = inputs.iter().map(DmaBuf::map).collect::<Result<Vec<_>, _>>()?;
    let mut streams = outputs.iter().map(DmaBuf::map).collect::<Result<Vec<_>, _>>()?;

    let mut report = Report::default();
    let mut free: VecDeque<usize> = (0..outputs.len()).collect();
    while report.frames < task.frames {
        let slot = camera.next()?;
        let to = match free.pop_front() {
            Some(to) => to,
            None => writer.next()?.index,
        };
        let request = buffers.ask(&[slot.index, inputs.len() + to])?;
        // The codec is in the queue, so the camera may have the buffer back: see `main.rs`.
        camera.give_back(slot)?;
        let held = request.wait()?;
        let began = now();
        let stream = match (frames.get(slot.index), streams.get_mut(to)) {
            (Some(frame), Some(stream)) => jpeg::encode(frame, stream)?,
            _ => return Err("no such buffers".into()),
        };
        let torn = stream.rows.capture() != Ok(slot.content);
        report.spans.push(held.unlock(None, slot.frame, (began, now()), torn)?);
        let (bytes, content) = (stream.bytes, stream.hash);
        writer.send(Slot { index: to, frame: slot.frame, content, bytes })?;
        report.frames += 1;
    }
    Ok(report)
}
