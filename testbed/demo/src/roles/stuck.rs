// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The stuck process: locks a buffer for writing and does not unlock, so it must be evicted.

use std::io::Read;
use std::time::{Duration, Instant};

use buffersync_client::{Access, BufferSync, Error, Options};

use super::{next_channel, Report, Task, PATIENCE};
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
    std::io::stdin().read_exact(&mut [0])?;

    let asked = now();
    let grant = group.lock(PATIENCE)?;
    let granted = now();
    let begin = Instant::now();
    while !grant.is_evicted()? {
        if begin.elapsed() > 10 * HOLD {
            return Err("held ten times its limit and was not evicted".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
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
    Ok(Report { evicted: 1, spans: vec![span], ..Report::default() })
}
