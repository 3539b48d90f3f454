// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! camera -> codec -> preview, three processes with four frames between them: frames per second, with locks
//! of the service, and with record locks and hand-written ioctls.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{Access, BufferId, BufferSync, Grant, Group, Options};
use buffersync_testbed_guest::dmabuf::{DmaBuf, Mapping};
use buffersync_testbed_guest::heap;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use serde_json::{json, Value};

use crate::crew::{self, Crew, Shared};
use crate::peers;

const FRAMES: usize = 4;
const SIZE: usize = 16 * 1024;
const TIME: Duration = Duration::from_secs(3);
const DONE: usize = 16;

/// The kind of lock that a stage uses.
enum Guard {
    /// A group, what it locks for each frame, and the grant that it has.
    Group(Group, Vec<[(BufferId, Access); 1]>, Option<Grant>),
    ByHand(Vec<[DmaBuf; 1]>),
}

impl Guard {
    fn new(verb: &str, number: usize, buffers: Vec<DmaBuf>) -> Self {
        if verb == "stage-by-hand" {
            return Self::ByHand(buffers.into_iter().map(|buffer| [buffer]).collect());
        }
        let sync = BufferSync::connect().expect("connect");
        let access = if number == 0 { Access::Write } else { Access::Read };
        let group = sync.open_group("bench/frames", Options::default()).expect("openGroup");
        let add = |buffer| [(group.add(buffer, access).expect("add"), access)];
        let frames = buffers.iter().map(add).collect();
        Self::Group(group, frames, None)
    }

    /// Locks a frame.
    fn enter(&mut self, frame: usize) {
        match self {
            Self::Group(group, frames, held) => {
                *held = Some(group.lock_some(&frames[frame], None).expect("lock"));
            }
            Self::ByHand(buffers) => {
                peers::lock(&buffers[frame]);
                peers::bracket(&buffers[frame], false);
            }
        }
    }

    /// Unlocks a frame, and locks the next one if it is there already.
    fn leave(&mut self, frame: usize, next: Option<usize>) {
        match (self, next) {
            (Self::Group(_, frames, held), next) => {
                let done = held.take().expect("it holds");
                match next {
                    Some(next) => {
                        let next = done.unlock_with_and_lock_some(None, &frames[next], None);
                        *held = Some(next.expect("unlock_and_lock"));
                    }
                    None => done.unlock().expect("unlock"),
                }
            }
            (by_hand @ Self::ByHand(_), next) => {
                if let Self::ByHand(buffers) = by_hand {
                    peers::bracket(&buffers[frame], true);
                    peers::unlock(&buffers[frame]);
                }
                if let Some(next) = next {
                    by_hand.enter(next);
                }
            }
        }
    }
}

/// `buffersync-bench stage|stage-by-hand`: a stage of the pipeline. Frames come from one pipe and go to the
/// next.
pub fn stage(verb: &str, number: usize, shared: &Shared, fds: &[String]) -> std::io::Result<()> {
    let mut ends: Vec<Option<File>> = Vec::new();
    for fd in &fds[..6] {
        ends.push(Some(crew::inherited_file(fd)?));
    }
    let take = |at: usize, ends: &mut Vec<Option<File>>| ends[at].take().expect("a pipe's end");
    let mut input = take(2 * number, &mut ends);
    let mut output = take(2 * ((number + 1) % 3) + 1, &mut ends);
    // A process that keeps another's end would keep the pipe open.
    drop(ends);
    let buffers: Vec<DmaBuf> = fds[6..]
        .iter()
        .map(|fd| crew::inherited(fd).map(|fd: OwnedFd| DmaBuf::new(fd, SIZE)))
        .collect::<std::io::Result<_>>()?;
    let mut maps: Vec<Mapping> = buffers.iter().map(|buffer| buffer.map().expect("map")).collect();
    let mut guard = Guard::new(verb, number, buffers);
    crew::begin(shared);
    let mut stamp = 0;
    let mut held = None;
    while !crew::is_over(shared) {
        let at = match held {
            Some(at) => at,
            None => {
                let mut frame = [0];
                if input.read_exact(&mut frame).is_err() {
                    break;
                }
                guard.enter(frame[0].into());
                frame[0].into()
            }
        };
        stamp += 1;
        work(&mut maps[at], number == 0, stamp);
        held = waiting_frame(&mut input)?;
        guard.leave(at, held);
        if number == 2 {
            shared.word(DONE).fetch_add(1, SeqCst);
        }
        if output.write_all(&[at as u8]).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(map: &mut Mapping, writes: bool, stamp: u64) {
    for word in 0..map.words() {
        if writes {
            map.write(word, stamp);
        } else {
            std::hint::black_box(map.read(word));
        }
    }
}

/// Returns the next frame if it is there already.
fn waiting_frame(input: &mut File) -> std::io::Result<Option<usize>> {
    let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let ready = nix::poll::poll(&mut fds, PollTimeout::ZERO)? == 1;
    let is_there = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
    let mut frame = [0];
    if !ready || !is_there || input.read_exact(&mut frame).is_err() {
        return Ok(None);
    }
    Ok(Some(frame[0].into()))
}

fn frames_a_second(verb: &str) -> std::io::Result<f64> {
    let shared = Shared::new()?;
    let buffers: Vec<DmaBuf> = (0..FRAMES).map(|_| heap::allocate(SIZE).expect("heap")).collect();
    let mut pipes: Vec<(std::io::PipeReader, std::io::PipeWriter)> = Vec::new();
    for _ in 0..3 {
        pipes.push(std::io::pipe()?);
    }
    let ends = pipes.iter().flat_map(|(read, write)| [read.as_raw_fd(), write.as_raw_fd()]);
    let frames = buffers.iter().map(|buffer| buffer.as_fd().as_raw_fd());
    let fds: Vec<RawFd> = ends.chain(frames).collect();
    let crew = Crew::start(verb, 3, &shared, &fds)?;
    let mut camera = pipes.remove(0).1;
    drop(pipes);
    camera.write_all(&(0..FRAMES as u8).collect::<Vec<u8>>())?;
    drop(camera);
    crew.run_for(&shared, TIME)?;
    Ok(shared.word(DONE).load(SeqCst) as f64 / TIME.as_secs_f64())
}

/// Measures frames per second with both kinds of locks, in turns.
pub fn measure() -> std::io::Result<Value> {
    let (mut groups, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        groups.push(frames_a_second("stage")?);
        by_hand.push(frames_a_second("stage-by-hand")?);
    }
    let mean = |all: Vec<f64>| all.iter().sum::<f64>() / all.len() as f64;
    Ok(json!({ "buffersync": mean(groups), "by_hand": mean(by_hand) }))
}
