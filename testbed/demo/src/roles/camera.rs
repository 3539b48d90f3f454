// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The camera: its sensor device writes frames, and it passes them on before they are finished.

use std::collections::VecDeque;

use buffersync_client::Access;
use buffersync_testbed_guest::heap;

use super::{next_channel, service, Lock, Report, Task, SLOTS};
use crate::channel::Slot;
use crate::device::Device;
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
    let mut locks = Vec::new();
    let mut mapped = Vec::new();
    for (index, buffer) in buffers.iter().enumerate() {
        let members = [(buffer, Access::DmaWrite, format!("in{index}"))];
        locks.push(Lock::open(service.as_ref(), &format!("camera/in{index}"), &members)?);
        mapped.push(buffer.map()?);
    }
    let mut sensor = Device::start(move |slot: Slot| {
        if let Some(memory) = mapped.get_mut(slot.index) {
            frame::fill(memory, slot.sequence);
        }
        Ok(())
    })?;

    let mut free: VecDeque<usize> = (0..SLOTS).collect();
    for sequence in 0..task.frames {
        let index = match free.pop_front() {
            Some(index) => index,
            None => codec.next()?.index,
        };
        let slot = Slot { index, sequence };
        let lock = locks.get_mut(index).ok_or("no such slot")?;
        lock.hand_over(sequence, &mut report, || Ok(()), |fence| sensor.submit(slot, fence))?;
        codec.send(slot)?;
        report.frames += 1;
    }
    report.finished(&sensor.finish()?);
    Ok(report)
}
