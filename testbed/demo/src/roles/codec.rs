// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The codec: its encoder device makes output frames from the camera's frames. Each lock has an input
//! and an output buffer.

use std::collections::VecDeque;

use buffersync_client::Access;
use buffersync_testbed_guest::heap;

use super::{next_channel, service, Lock, Report, Task, SLOTS};
use crate::channel::Slot;
use crate::device::Device;
use crate::frame::Torn;
use crate::{frame, Failure};

/// One frame for the encoder.
struct Job {
    from: usize,
    to: usize,
    sequence: u64,
}

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let service = service(&task)?;
    let mut camera = next_channel(&mut task)?;
    let mut preview = next_channel(&mut task)?;
    let mut report = Report::default();
    let inputs = camera.receive()?;
    let mut outputs = Vec::new();
    for _ in 0..SLOTS {
        outputs.push(heap::allocate(frame::BYTES)?);
    }
    preview.pass(&outputs)?;
    // The stuck process gets the first one.
    if let Ok(stuck) = next_channel(&mut task) {
        stuck.pass(&outputs[..1])?;
    }
    // A group for each pair, so that no group is opened while frames flow.
    let mut locks = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        for (o, output) in outputs.iter().enumerate() {
            let members = [
                (input, Access::DmaRead, format!("in{i}")),
                (output, Access::DmaWrite, format!("out{o}")),
            ];
            locks.push(Lock::open(service.as_ref(), &format!("codec/in{i}-out{o}"), &members)?);
        }
    }
    let mut mapped_in = Vec::new();
    for buffer in &inputs {
        mapped_in.push(buffer.map()?);
    }
    let mut mapped_out = Vec::new();
    for buffer in &outputs {
        mapped_out.push(buffer.map()?);
    }
    let mut encoder = Device::start(move |Job { from, to, sequence }: Job| {
        match (mapped_in.get(from), mapped_out.get_mut(to)) {
            (Some(input), Some(output)) => frame::encode(input, output, sequence),
            _ => Err(Torn),
        }
    })?;

    let mut free: VecDeque<usize> = (0..SLOTS).collect();
    for _ in 0..task.frames {
        let slot = camera.next()?;
        let to = match free.pop_front() {
            Some(out) => out,
            None => preview.next()?.index,
        };
        let lock = locks.get_mut(slot.index * SLOTS + to).ok_or("no such slots")?;
        let job = Job { from: slot.index, to, sequence: slot.sequence };
        lock.hand_over(
            slot.sequence,
            &mut report,
            // The codec is in the queue, so the camera may have the buffer back: see `main.rs`.
            || Ok(camera_gets_back(&mut camera, slot)?),
            |fence| encoder.submit(job, fence),
        )?;
        preview.send(Slot { index: to, sequence: slot.sequence })?;
        report.frames += 1;
    }
    report.finished(&encoder.finish()?);
    Ok(report)
}

/// Gives a buffer back. The camera may have ended after its last frame.
fn camera_gets_back(camera: &mut crate::channel::Channel, slot: Slot) -> std::io::Result<()> {
    match camera.send(slot) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
