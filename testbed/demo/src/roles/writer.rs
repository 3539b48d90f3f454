// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The writer: saves the codec's streams as files.

use std::fs;

use buffersync_client::Access;
use buffersync_testbed_guest::dmabuf::DmaBuf;

use super::{next_channel, Buffers, Report, Task};
use crate::span::now;
use crate::{jpeg, Failure};

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let mut codec = next_channel(&mut task)?;
    let memory = codec.receive(jpeg::BYTES)?;
    let mut buffers = Buffers::open(&task, "writer")?;
    buffers.add(&memory, "out", Access::Read)?;
    let mapped = memory.iter().map(DmaBuf::map).collect::<Result<Vec<_>, _>>()?;
    let mut report = Report::default();
    while report.frames < task.frames {
        let slot = codec.next()?;
        let request = buffers.ask(&[slot.index])?;
        codec.give_back(slot)?;
        let held = request.wait()?;
        let began = now();
        let memory = mapped.get(slot.index).ok_or("no such buffer")?;
        let stream: Vec<u8> = (0..slot.bytes).map(|at| memory.read_byte(at)).collect();
        let torn = jpeg::hash(&stream) != slot.content;
        report.spans.push(held.unlock(None, slot.frame, (began, now()), torn)?);
        fs::write(task.folder.join(format!("frame-{}.jpg", slot.frame)), stream)?;
        report.frames += 1;
        println!("progress {}", report.frames);
    }
    Ok(report)
}
