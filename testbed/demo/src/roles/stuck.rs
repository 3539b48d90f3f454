// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The stuck process: locks a buffer for writing and does not unlock, so it must be evicted.

use std::os::fd::AsFd;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Error, Grant, Group, Options};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::{next_channel, wait_for_parent, Report, Task, PATIENCE};
use crate::span::{now, Span};
use crate::{jpeg, Failure};

/// The hold limit of its group: short enough for a demo.
const HOLD: Duration = Duration::from_millis(500);

pub fn run(mut task: Task) -> Result<Report, Failure> {
    let codec = next_channel(&mut task)?;
    let buffer = codec.receive(jpeg::BYTES)?.pop().ok_or("no buffer was passed")?;
    let service = BufferSync::connect()?;
    let options = Options { hold_limit: Some(HOLD), ..Options::default() };
    let group = service.open_group("stuck/out0", options)?;
    group.add(&buffer, Access::Write)?;
    // The parent tells when to start, during the run.
    wait_for_parent()?;

    let asked = now();
    let grant = group.lock(PATIENCE)?;
    let granted = now();
    wait_for_eviction(&group, &grant)?;
    let ended = now();
    match grant.unlock() {
        Err(Error::Evicted { .. }) => {}
        other => return Err(format!("a late unlock must be refused, got {other:?}").into()),
    }
    let buffers = vec!["out0".into()];
    let span = Span {
        asked,
        granted,
        ended,
        work: (granted, ended),
        frame: None,
        evicted: true,
        torn: false,
        buffers,
    };
    Ok(Report { spans: vec![span], ..Report::default() })
}

fn wait_for_eviction(group: &Group, grant: &Grant) -> Result<(), Failure> {
    loop {
        // The grant knows of its eviction; the events themselves are not needed.
        while group.read_event()?.is_some() {}
        if grant.is_evicted()? {
            return Ok(());
        }
        let mut polled = [PollFd::new(group.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::try_from(PATIENCE)?)? == 0 {
            return Err("it was not evicted".into());
        }
    }
}
