// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service of the soak: its lives, and what is left in it when all its clients have gone.

use std::error::Error;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use buffersync_client::{Access, BufferSync, Group, Options};
use buffersync_testbed_guest::stack::Stack;

use crate::control::{now, Control};
use crate::held::LOOSE;

/// True when the service registers again with a service manager that has restarted. Until it does, the soak restarts
/// no service manager: nobody would find the service afterwards.
pub const REGISTERS_AGAIN: bool = true;

/// Short limits, so that evictions are frequent. Groups ask for shorter ones.
const HOLDS: [&str; 4] = ["--default-hold-ms", "250", "--max-hold-ms", "500"];
/// How long the service may take to end what is left: release fences, and cache operations of closed groups. vgem
/// signals a fence after ten seconds.
const SETTLES: Duration = Duration::from_secs(30);
/// Counters of the dump that say what the service has now. (The others say what it has done.)
const LEFT: [&str; 5] = ["groups", "buffers", "fences", "sync_jobs", "waits"];

pub struct Service {
    stack: Stack,
    bin: PathBuf,
    /// A group of most buffers, so that they keep their generations while workers come and go.
    keeper: Option<Group>,
    /// Open descriptors before the first worker of this life.
    descriptors: usize,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl Service {
    /// Starts it, and keeps the buffers.
    pub fn start(program: Option<&Path>, control: &Control, buffers: &[OwnedFd]) -> Result<Self> {
        let own = std::env::current_exe()?;
        let bin = own.parent().ok_or("no folder of programs")?.to_path_buf();
        let out =
            std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| PathBuf::from("/out"), PathBuf::from);
        let usual = bin.join("vendor.buffersync-service");
        let program = program.unwrap_or(&usual);
        let stack =
            Stack::start_with(&bin, program, &out.join("log-soak"), &HOLDS.map(String::from))?;
        let mut service = Self { stack, bin, keeper: None, descriptors: 0 };
        service.begin(control, buffers)?;
        Ok(service)
    }

    /// The beginning of a life. The workers wait until it is over.
    fn begin(&mut self, control: &Control, buffers: &[OwnedFd]) -> Result<()> {
        let sync = BufferSync::connect()?;
        // What is made at first use, and stays.
        drop(keep(&sync, buffers)?);
        self.settled(&sync)?;
        self.descriptors = self.open_descriptors()?;
        self.keeper = Some(keep(&sync, buffers)?);
        control.life().fetch_add(1, SeqCst);
        Ok(())
    }

    /// Kills the service, and starts it again.
    pub fn restart(&mut self, control: &Control, buffers: &[OwnedFd]) -> Result<()> {
        // Before it happens: nobody may believe in grants of a service that is gone.
        control.life().fetch_add(1, SeqCst);
        control.life_began().store(now(), SeqCst);
        self.stack.kill_service()?;
        self.keeper = None;
        self.stack.restart_service(&HOLDS.map(String::from))?;
        self.begin(control, buffers)
    }

    /// Kills the service manager, and starts it again.
    pub fn restart_hub(&mut self) -> Result<()> {
        self.stack.kill_hub()?;
        self.stack.start_hub()?;
        Ok(self.stack.wait_for_service()?)
    }

    /// Why it does not run as it should, if it does not.
    pub fn complaint(&mut self) -> Option<String> {
        if !self.stack.service_is_alive() {
            return Some(format!("the service has ended:\n{}", self.stack.service_log()));
        }
        self.stack.service_log().contains("panicked at").then(|| "the service has panicked".into())
    }

    /// How much of its clients is left when all have gone: an account in words, and a number.
    pub fn leaked(&mut self, buffers: &[OwnedFd]) -> Result<(String, u64)> {
        self.keeper = None;
        let sync = BufferSync::connect()?;
        let (left, open) = self.settled(&sync)?;
        let more = open.saturating_sub(self.descriptors) as u64;
        let kinds = if more > 0 { self.descriptors_by_kind() } else { String::new() };
        self.keeper = Some(keep(&sync, buffers)?);
        let account = format!(
            "{}, descriptors {open} (at the start {}){}",
            left.iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect::<Vec<_>>()
                .join(", "),
            self.descriptors,
            kinds,
        );
        Ok((account, left.iter().map(|(_, count)| count).sum::<u64>() + more))
    }

    /// Waits until nothing is left, for a time. Returns what is left then, and the open descriptors.
    fn settled(&self, sync: &BufferSync) -> Result<(Vec<(&'static str, u64)>, usize)> {
        let begin = Instant::now();
        let mut open = self.open_descriptors()?;
        loop {
            let text = sync.dump(&["counters"])?;
            let count = |name: &str| {
                let pair = text
                    .split_whitespace()
                    .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                pair.and_then(|count| count.parse().ok())
            };
            let left: Option<Vec<_>> =
                LEFT.iter().map(|name| Some((*name, count(name)?))).collect();
            let left = left.ok_or_else(|| format!("the dump lacks one of {LEFT:?}: {text}"))?;
            let before = std::mem::replace(&mut open, self.open_descriptors()?);
            // Descriptors are closed a little after their buffers are forgotten.
            let settled = left.iter().all(|(_, count)| *count == 0)
                && open == before
                && (self.descriptors == 0 || open <= self.descriptors);
            if settled || begin.elapsed() > SETTLES {
                return Ok((left, open));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn folder(&self) -> String {
        format!("/proc/{}/fd", self.stack.service_pid())
    }

    fn open_descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(self.folder())?.count())
    }

    /// Their kinds, for a reader who looks for a leak.
    fn descriptors_by_kind(&self) -> String {
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let kind = target.to_string_lossy().split('[').next().unwrap_or_default().to_string();
            *kinds.entry(kind).or_default() += 1;
        }
        format!(": {kinds:?}")
    }

    /// The dump for people, for whoever looks for what hangs.
    pub fn dump(&self) -> String {
        let mut dump = std::process::Command::new(self.bin.join("rsb_service"));
        let dump = dump.args(["dump", buffersync_testbed_guest::stack::INSTANCE]).output();
        dump.map_or_else(
            |error| error.to_string(),
            |dump| String::from_utf8_lossy(&dump.stdout).into_owned(),
        )
    }
}

fn keep(sync: &BufferSync, buffers: &[OwnedFd]) -> buffersync_client::Result<Group> {
    let group = sync.open_group("soak/keeper", Options::default())?;
    for (_, buffer) in buffers.iter().enumerate().filter(|(at, _)| *at != LOOSE) {
        group.add(buffer, Access::Read)?;
    }
    Ok(group)
}
