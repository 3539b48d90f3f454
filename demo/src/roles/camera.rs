// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fills frames, standing for the sensor's DMA.

use std::collections::VecDeque;

use buffersync_client::Access;
use buffersync_testbed_guest::heap;

use super::{next_channel, service, Lock, Report, Task, SLOTS};
use crate::channel::Slot;
use crate::{frame, Failure};

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let service = service(&task)?;
    let mut codec = next_channel(&mut task)?;
    let mut report = Report::default();
    let mut buffers = Vec::new();
    for _ in 0..SLOTS {
        buffers.push(heap::allocate(frame::BYTES)?);
    }
    codec.pass(&buffers)?;
    let mut slots = Vec::new();
    for (index, buffer) in buffers.iter().enumerate() {
        let members = [(buffer, Access::DmaWrite, format!("in{index}"))];
        let lock = Lock::open(service.as_ref(), &format!("camera/in{index}"), &members)?;
        slots.push((lock, buffer.map()?));
    }

    let mut free: VecDeque<usize> = (0..SLOTS).collect();
    for sequence in 0..task.frames {
        let index = match free.pop_front() {
            Some(index) => index,
            None => codec.next()?.index,
        };
        let (lock, mapping) = slots.get_mut(index).ok_or("no such slot")?;
        lock.with(sequence, &mut report, || Ok(()), || frame::fill(mapping, sequence))?;
        codec.send(Slot { index, sequence })?;
        report.frames += 1;
    }
    Ok(report)
}
