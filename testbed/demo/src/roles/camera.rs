// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The camera: vivid writes frames into buffers of the heap. Two or more are always queued in the driver.
//!
//! A buffer is locked for the device from before QBUF until DQBUF, because V4L2 has no fences. Then the camera reads
//! the frame with the CPU, as a HAL does to set the exposure, and tells codec and display what it saw.

use std::os::fd::{AsFd, OwnedFd};

use buffersync_client::Access;
use buffersync_testbed_guest::dmabuf::{DmaBuf, Mapping};
use buffersync_testbed_guest::v4l2::{Camera, Captured, DRIVER};
use buffersync_testbed_guest::{heap, picture};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::{next_channel, Buffers, Held, Report, Request, Task, FRAMES, PATIENCE};
use crate::channel::{Channel, Slot};
use crate::span::now;
use crate::Failure;

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let mut pipeline = Pipeline::new(&mut task)?;
    pipeline.advance()?;
    pipeline.camera.stream_on()?;
    while pipeline.report.frames < task.frames {
        pipeline.wait()?;
        if let Some(captured) = pipeline.camera.dequeue()? {
            pipeline.hand_on(captured)?;
        }
        pipeline.advance()?;
    }
    // What is still queued is given back before its lock ends.
    pipeline.camera.stream_off()?;
    Ok(pipeline.report)
}

/// So many buffers stay in the driver: the one that it writes, and the next one.
const IN_DRIVER: usize = 2;

/// Where a buffer is.
enum Place {
    /// So many neighbours have it.
    Neighbours(usize),
    Requested(Request),
    /// Granted; the display may still read it until the fence signals.
    Fenced(Held, OwnedFd),
    /// In the driver since this time.
    Queued(Held, u64),
}

struct Pipeline {
    camera: Camera,
    memory: Vec<DmaBuf>,
    mapped: Vec<Mapping>,
    buffers: Buffers,
    places: Vec<Option<Place>>,
    neighbours: [Channel; 2],
    report: Report,
}

impl Pipeline {
    fn new(task: &mut Task) -> Result<Self, Failure> {
        let neighbours = [next_channel(task)?, next_channel(task)?];
        let camera = Camera::open()?;
        println!("device {DRIVER}");
        camera.request_buffers(FRAMES)?;
        let memory = (0..FRAMES).map(|_| heap::allocate(picture::BYTES));
        let memory = memory.collect::<Result<Vec<_>, _>>()?;
        for neighbour in &neighbours {
            neighbour.pass(&memory)?;
        }
        let mut buffers = Buffers::open(task, "camera")?;
        buffers.add(&memory, "in", Access::DmaWrite)?;
        let mapped = memory.iter().map(DmaBuf::map).collect::<Result<_, _>>()?;
        let places = memory.iter().map(|_| Some(Place::Neighbours(0))).collect();
        let report = Report::default();
        Ok(Self { camera, memory, mapped, buffers, places, neighbours, report })
    }

    /// Moves each buffer as far as it can go.
    fn advance(&mut self) -> Result<(), Failure> {
        if let Some(group) = &self.buffers.group {
            // The guards know of their grants; the events themselves are not needed.
            while group.read_event()?.is_some() {}
        }
        for index in 0..FRAMES {
            let place = self.places[index].take().ok_or("a buffer is lost")?;
            self.places[index] = Some(self.moved(index, place)?);
        }
        Ok(())
    }

    /// The place to which a buffer can go without a wait.
    fn moved(&self, index: usize, place: Place) -> Result<Place, Failure> {
        match place {
            Place::Neighbours(0) => {
                let request = self.buffers.ask(&[index])?;
                self.moved(index, Place::Requested(request))
            }
            Place::Requested(mut request) => {
                if !request.is_granted()? {
                    return Ok(Place::Requested(request));
                }
                let held = request.wait()?;
                match held.acquire_fence()? {
                    Some(fence) => Ok(Place::Fenced(held, fence)),
                    None => self.queue(index, held),
                }
            }
            Place::Fenced(held, fence) if is_readable(&fence)? => self.queue(index, held),
            other => Ok(other),
        }
    }

    fn queue(&self, index: usize, held: Held) -> Result<Place, Failure> {
        let since = now();
        self.camera.queue(index, &self.memory[index])?;
        Ok(Place::Queued(held, since))
    }

    /// Waits until something happens, and reads what the neighbours say.
    fn wait(&mut self) -> Result<(), Failure> {
        let mut polled = self.neighbours.each_ref().map(AsFd::as_fd).to_vec();
        polled.extend(self.buffers.group.as_ref().map(AsFd::as_fd));
        let mut is_queued = false;
        for place in self.places.iter().flatten() {
            match place {
                Place::Fenced(_, fence) => polled.push(fence.as_fd()),
                Place::Queued(..) => is_queued = true,
                _ => {}
            }
        }
        // Without a buffer the camera would only report an error.
        polled.extend(is_queued.then(|| self.camera.as_fd()));
        let mut polled: Vec<PollFd<'_>> =
            polled.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let patience = PollTimeout::try_from(PATIENCE)?;
        if poll(&mut polled, patience)? == 0 {
            return Err("nothing happens".into());
        }
        let has_said = |nth: usize| polled[nth].any() == Some(true);
        let said = [has_said(0), has_said(1)];
        for (neighbour, _) in self.neighbours.iter_mut().zip(said).filter(|(_, said)| *said) {
            let index = neighbour.next()?.index;
            match self.places.get_mut(index) {
                Some(Some(Place::Neighbours(count))) if *count > 0 => *count -= 1,
                _ => return Err(format!("buffer {index} is given back twice").into()),
            }
        }
        Ok(())
    }

    /// The driver has written a buffer: the neighbours get it. But if they have so many that the driver would have too
    /// few, this frame is left out, as a camera does whose application is slow.
    fn hand_on(&mut self, captured: Captured) -> Result<(), Failure> {
        let Captured { index, .. } = captured;
        let taken = now();
        let place = self.places.get_mut(index).and_then(Option::take);
        let Some(Place::Queued(mut held, since)) = place else {
            return Err(format!("buffer {index} was not queued").into());
        };
        let queued =
            self.places.iter().flatten().filter(|place| matches!(place, Place::Queued(..)));
        if queued.count() < IN_DRIVER {
            self.camera.queue(index, &self.memory[index])?;
            self.places[index] = Some(Place::Queued(held, since));
            return Ok(());
        }
        held.read_with_cpu()?;
        let content =
            picture::look(&self.mapped[index]).map_err(|_| "the camera's own frame is torn")?;
        let frame = self.report.frames;
        self.report.spans.push(held.unlock(None, frame, (since, taken), false)?);
        self.report.frames += 1;
        for neighbour in &mut self.neighbours {
            neighbour.send(Slot { index, frame, content, bytes: picture::BYTES })?;
        }
        self.places[index] = Some(Place::Neighbours(self.neighbours.len()));
        Ok(())
    }
}

/// Tells if a fence has signalled.
fn is_readable(fence: &OwnedFd) -> Result<bool, Errno> {
    let mut polled = [PollFd::new(fence.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut polled, PollTimeout::ZERO)? > 0)
}
