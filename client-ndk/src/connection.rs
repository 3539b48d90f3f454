// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Finding the service, and what can be asked of it as a whole.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use binder::{Interface, ProcessState, StatusCode, Strong};
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::DEFAULT_INSTANCE;

use crate::error::{Error, Result};
use crate::events::EventPipe;
use crate::group::Group;
use crate::types::{millis, Capabilities};

/// The binder device of vendor HALs' clients that [`BufferSync::connect`] opens.
pub const DEFAULT_DEVICE: &str = "/dev/binder";

/// Options of a new group (`GroupOptions.aidl`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long one grant may last before it is taken away; `None` takes the service's default.
    /// Cut to [`Capabilities::max_hold`]; rounded up to whole milliseconds.
    pub hold_limit: Option<Duration>,
    /// For the group's DMA accesses, acquire fences include the dma-bufs' implicit fences, and release
    /// fences are put there. Needs [`Capabilities::implicit_fences`].
    pub implicit_fences: bool,
}

impl Options {
    /// The limit on the wire, where 0 would ask for the default.
    fn hold_limit_ms(self) -> i32 {
        match self.hold_limit {
            None => 0,
            Some(limit) => {
                let millis = limit.as_nanos().div_ceil(1_000_000).max(1);
                i32::try_from(millis).unwrap_or(i32::MAX)
            }
        }
    }
}

/// A connection to the service. `Send` and `Sync`; calls may be made from any thread.
pub struct BufferSync {
    service: Strong<dyn IBufferSync>,
}

impl BufferSync {
    /// Connects to the default instance over [`DEFAULT_DEVICE`]. Does not wait for the service to
    /// be started.
    ///
    /// # Errors
    /// [`Error::NoBinder`], [`Error::NoService`].
    pub fn connect() -> Result<Self> {
        Self::connect_with(DEFAULT_DEVICE, DEFAULT_INSTANCE)
    }

    /// Connects to an instance over a binder device. A process has one binder device: the first
    /// to be opened, by whomever, stays.
    ///
    /// # Errors
    /// [`Error::NoBinder`], [`Error::NoService`].
    pub fn connect_with(device: &str, instance: &str) -> Result<Self> {
        // No threads: nobody ever calls a client.
        ProcessState::open(device, 0).map_err(Error::NoBinder)?;
        let service = binder::check_interface::<dyn IBufferSync>(instance).map_err(|status| {
            let reason = match status {
                StatusCode::NameNotFound => "not registered, or not to be found by this uid".into(),
                StatusCode::DeadObject => "no service manager answers".into(),
                other => other.to_string(),
            };
            Error::NoService { instance: instance.to_string(), reason }
        })?;
        Ok(Self { service })
    }

    /// What the service does and where its bounds are.
    pub fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.service.getCapabilities()?.into())
    }

    /// Opens a group, with no buffers in it. `name` is for dumps and logs: 1 to 64 bytes without
    /// control characters.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for a bad name, [`Error::Unsupported`], [`Error::Quota`],
    /// [`Error::NoResources`].
    pub fn open_group(&self, name: &str, options: Options) -> Result<Group> {
        let options = GroupOptions {
            holdLimitMs: options.hold_limit_ms(),
            implicitFences: options.implicit_fences,
        };
        let opened = self.service.openGroup(name, &options)?;
        let binder = opened.group.ok_or(Error::Protocol("openGroup returned no group"))?;
        let events = opened.events.ok_or(Error::Protocol("openGroup returned no event pipe"))?;
        Ok(Group::new(binder, EventPipe::new(events.into())?, millis(opened.holdLimitMs)))
    }

    /// The service's dump, as `dumpsys` prints it: buffers, holders, waiters, counters. `args` are
    /// the service's own; `counters` prints one line of `key=value` pairs.
    pub fn dump(&self, args: &[&str]) -> Result<String> {
        let system = |what| move |error: std::io::Error| system(what, &error);
        let (mut read, write) = std::io::pipe().map_err(system("pipe"))?;
        // The call returns when the service has written everything, and a pipe holds 64 KiB only:
        // so somebody else must read meanwhile.
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        self.dump_to(write.into(), args)?;
        match reader.join() {
            Ok(text) => text.map_err(system("read of the dump")),
            Err(_) => Err(Error::Protocol("the reader of the dump panicked")),
        }
    }

    fn dump_to(&self, fd: OwnedFd, args: &[&str]) -> Result<()> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let binder = self.service.as_binder();
        let proxy = binder.as_proxy().ok_or(Error::Protocol("the service is in this process"))?;
        Ok(proxy.dump(fd, &args)?)
    }
}

fn system(what: &'static str, error: &std::io::Error) -> Error {
    Error::System(what, nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_limit_is_never_rounded_to_the_default() {
        let ms = |limit| Options { hold_limit: limit, ..Options::default() }.hold_limit_ms();
        assert_eq!(ms(None), 0);
        assert_eq!(ms(Some(Duration::ZERO)), 1);
        assert_eq!(ms(Some(Duration::from_micros(1))), 1);
        assert_eq!(ms(Some(Duration::from_micros(1001))), 2);
        assert_eq!(ms(Some(Duration::from_millis(500))), 500);
        assert_eq!(ms(Some(Duration::MAX)), i32::MAX);
    }

    #[test]
    fn a_host_without_binder_is_told_so() {
        let error = BufferSync::connect_with("/dev/no-such-binder", "a.b.IC/default").err();
        assert!(matches!(error, Some(Error::NoBinder(_))), "{error:?}");
    }

    #[test]
    fn handles_may_move_to_other_threads() {
        fn is_send<T: Send>() {}
        fn is_sync<T: Sync>() {}
        is_send::<BufferSync>();
        is_sync::<BufferSync>();
        is_send::<Group>();
    }
}
