// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A pipeline in async Rust: two stages, three buffers, one thread.
//!
//! `buffersync-example-pipeline INPUT_FD MIDDLE_FD OUTPUT_FD`
//!
//! For each number on standard input the first stage writes the negative of that frame from the input
//! buffer into the middle one. The second stage writes the negative of that into the output buffer, and
//! prints the number. The next number comes when that frame was read. A stage holds its two buffers at
//! once, and while one stage waits for a grant the other one works.

use std::io::BufRead;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use buffersync_client::{BufferSync, Group, Mapped, Options, Read, Write};
use buffersync_examples::check_frame;
use tokio::sync::mpsc::{channel, Receiver, Sender};

type Failure = Box<dyn std::error::Error>;

/// Frames between the stages: there is one buffer.
const AHEAD: usize = 1;

struct Stage {
    group: Group,
    from: Mapped<Read>,
    to: Mapped<Write>,
    /// The filter that the frames in `from` have passed.
    filter: fn(u32) -> u32,
}

impl Stage {
    fn new(
        sync: &BufferSync,
        name: &str,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        filter: fn(u32) -> u32,
    ) -> Result<Self, Failure> {
        let group = sync.open_group(name, Options::default())?;
        let (from, to) = (group.map(from)?, group.map(to)?);
        Ok(Self { group, from, to, filter })
    }

    /// Negates each frame. Calls `announce` when its buffers are held and not yet written.
    async fn run(
        self,
        mut numbers: Receiver<u32>,
        announce: impl AsyncFn(u32) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while let Some(number) = numbers.recv().await {
            let grant = self.group.lock_async(Duration::from_secs(5)).await?;
            announce(number).await?;
            let frame = self.from.to_vec(&grant)?;
            check_frame(&frame, number, self.filter)?;
            let negative: Vec<u8> = frame.iter().map(|byte| !byte).collect();
            self.to.write_at(&grant, 0, &negative)?;
            grant.unlock()?;
        }
        Ok(())
    }
}

/// Takes a descriptor that was inherited under this number.
fn inherited(number: Option<String>) -> Result<OwnedFd, Failure> {
    let number: RawFd = number.ok_or("a descriptor is missing")?.parse()?;
    // SAFETY: the program's parent passed the descriptor, and nothing else here uses the number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Reads standard input in a thread: tokio can't poll it.
fn read_numbers(numbers: Sender<u32>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(number) = line.trim().parse() else { return };
        if numbers.blocking_send(number).is_err() {
            return;
        }
    }
}

async fn run() -> Result<(), Failure> {
    use std::os::fd::AsFd;
    let mut args = std::env::args().skip(1);
    let input = inherited(args.next())?;
    let middle = inherited(args.next())?;
    let output = inherited(args.next())?;
    let sync = BufferSync::connect()?;
    let first = (input.as_fd(), middle.as_fd());
    let second = (middle.as_fd(), output.as_fd());
    let first = Stage::new(&sync, "example/first", first, |word| word)?;
    let second = Stage::new(&sync, "example/second", second, |word| !word)?;

    let (numbers, first_numbers) = channel(AHEAD);
    let (hand_on, second_numbers) = channel(AHEAD);
    std::thread::spawn(move || read_numbers(numbers));
    tokio::try_join!(
        // The next stage may already ask for the frame: it is granted when this stage unlocks.
        first.run(first_numbers, async move |number| Ok(hand_on.send(number).await?)),
        second.run(second_numbers, async |number| {
            println!("{number}");
            Ok(())
        }),
    )?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(run())
}
