// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The preview: reads the codec's frames with the CPU and checks every byte.

use buffersync_client::Access;

use super::{next_channel, service, Lock, Report, Task};
use crate::{frame, Failure};

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let service = service(&task)?;
    let mut codec = next_channel(&mut task)?;
    let mut report = Report::default();
    let buffers = codec.receive()?;
    let mut slots = Vec::new();
    for (index, buffer) in buffers.iter().enumerate() {
        let members = [(buffer, Access::Read, format!("out{index}"))];
        let lock = Lock::open(service.as_ref(), &format!("preview/out{index}"), &members)?;
        slots.push((lock, buffer.map()?));
    }
    for _ in 0..task.frames {
        let slot = codec.next()?;
        let (lock, mapping) = slots.get_mut(slot.index).ok_or("no such slot")?;
        lock.read(
            slot.sequence,
            &mut report,
            || match codec.send(slot) {
                // The codec may have ended after its last frame.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                other => Ok(other?),
            },
            || frame::verify(mapping, slot.sequence),
        )?;
        report.frames += 1;
        if report.frames % 50 == 0 {
            println!("progress {}", report.frames);
        }
    }
    Ok(report)
}
