// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service, with a record of its clients' calls: seeds for the fuzzer.
//!
//! In front of each object there is another one that records the transaction and passes it on. Values of
//! this run are recorded by their meaning: a descriptor by its kind, a lock or buffer by its group.
//! An input goes from the first group to the end of the last one, and is written to the folder
//! `BUFFERSYNC_RECORDING`. `cargo xtask fuzz -- record` runs the conformance suite against it.

use std::collections::hash_map::{DefaultHasher, HashMap};
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::BnBufferSync;
use buffersync_aidl::aidl::vendor::buffersync::OpenedGroup::OpenedGroup;
use buffersync_aidl::{new_binder, runtime, DEFAULT_INSTANCE};
use buffersync_service::binder::hal::BufferSync;
use buffersync_service::platform;
use buffersync_service::quota::Resources;
use buffersync_service_fuzz::client::{method, Action};
use buffersync_service_fuzz::descriptors::{DMA_BUFS, OTHERS, PENDING, SIGNALLED};
use buffersync_service_fuzz::input::{self, Call, Header, Known, Step, LONGEST};
use buffersync_service_fuzz::parcel::{long, word, OBJECT_BYTES, TYPE_FD};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rsbinder::{
    Binder, Interface, Parcel, ProcessState, Remotable, SIBinder, Stability, Status, StatusCode,
    TransactionCode,
};

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buffersync-recorder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let folder = std::env::var_os("BUFFERSYNC_RECORDING").ok_or("no BUFFERSYNC_RECORDING")?;
    let config = platform::settings()?.ok_or("no settings")?;
    runtime::open_driver(&config.device, Some(config.threads))?;
    let service = BufferSync::new(buffersync_service::start(config, Resources::AMPLE)?);
    let inner = new_binder!(BnBufferSync, service).as_binder();
    let record = Record { folder: folder.into(), ..Record::default() };
    let record = Arc::new(Mutex::new(record));
    let service = Recorded::<SERVICE> { inner, record, group: 0 };
    ProcessState::start_thread_pool();
    rsbinder::hub::add_service(DEFAULT_INSTANCE, service.publish())
        .map_err(|error| format!("{DEFAULT_INSTANCE}: {error:?}"))?;
    ProcessState::join_thread_pool()?;
    Ok(())
}

const SERVICE: bool = false;
const GROUP: bool = true;

/// An object whose transactions are recorded.
struct Recorded<const KIND: bool> {
    inner: SIBinder,
    record: Arc<Mutex<Record>>,
    /// The position of the group in the input.
    group: usize,
}

/// The input that is being recorded.
#[derive(Default)]
struct Record {
    folder: PathBuf,
    bytes: Vec<u8>,
    /// The input has its greatest length; later steps are not recorded.
    full: bool,
    groups: Vec<Noted>,
    alive: usize,
    /// The kinds of dma-bufs by inode, in the order of their first use.
    dma_bufs: HashMap<u64, u8>,
}

/// The values that the client of a group has chosen or was given.
#[derive(Default)]
struct Noted {
    /// The number of its last lock.
    lock: i64,
    buffers: Vec<i64>,
}

impl<const KIND: bool> Recorded<KIND> {
    fn publish(self) -> SIBinder {
        Binder::new_with_stability(self, Stability::Vintf).as_binder()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const KIND: bool> Remotable for Recorded<KIND> {
    fn descriptor() -> &'static str {
        if KIND == GROUP {
            "vendor.buffersync.ISyncGroup"
        } else {
            "vendor.buffersync.IBufferSync"
        }
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        reader: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        let header = reader.data_position();
        let data = bytes(reader)?;
        let group = (KIND == GROUP).then_some(self.group);
        let arguments = data.get(header..).unwrap_or_default();
        self.record().note(group, code, arguments);
        let lock = method::new_lock(code, arguments).map(|at| long(arguments, at));
        let inner = self.inner.as_transactable().ok_or(StatusCode::BadType)?;
        inner.transact(code, reader, reply)?;
        reply.set_data_position(0);
        if !matches!(reply.read::<Status>(), Ok(status) if status.is_ok()) {
            return Ok(());
        }
        match (group, code) {
            (None, method::OPEN_GROUP) => *reply = self.recorded_group(reply.read()?)?,
            (Some(group), method::ADD) => {
                let buffers: Vec<i64> = reply.read()?;
                self.record().with(group, |noted| noted.buffers.extend(buffers));
            }
            (Some(group), _) => {
                if let Some(lock) = lock {
                    self.record().with(group, |noted| noted.lock = lock);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        // The inner object has answered that transaction already.
        Err(StatusCode::UnknownTransaction)
    }
}

impl<const KIND: bool> Recorded<KIND> {
    /// The reply of openGroup, with a recorded group in place of the service's own.
    fn recorded_group(&self, opened: OpenedGroup) -> rsbinder::Result<Parcel> {
        let inner = opened.group.ok_or(StatusCode::UnexpectedNull)?.as_binder();
        let group = {
            let mut record = self.record();
            record.alive += 1;
            record.groups.push(Noted::default());
            record.groups.len() - 1
        };
        let recorded = Recorded::<GROUP> { inner, record: Arc::clone(&self.record), group };
        let mut reply = Parcel::new();
        reply.write(&Status::from(StatusCode::Ok))?;
        reply.write(&1_i32)?;
        reply.sized_write(|parcel| {
            parcel.write(&recorded.publish())?;
            parcel.write(opened.events.as_ref().ok_or(StatusCode::UnexpectedNull)?)?;
            parcel.write(&opened.holdLimitMs)
        })?;
        Ok(reply)
    }
}

impl<const KIND: bool> Drop for Recorded<KIND> {
    fn drop(&mut self) {
        if KIND == GROUP {
            self.record().dropped(self.group);
        }
    }
}

impl Record {
    fn with(&mut self, group: usize, learn: impl FnOnce(&mut Noted)) {
        // None: its input has been written already.
        if let Some(noted) = self.groups.get_mut(group) {
            learn(noted);
        }
    }

    fn step(&mut self, step: &Step) {
        let mut bytes = Vec::new();
        input::write(step, &mut bytes);
        self.full |= self.bytes.len() + bytes.len() > LONGEST;
        if !self.full {
            self.bytes.extend(bytes);
        }
    }

    fn note(&mut self, group: Option<usize>, code: TransactionCode, data: &[u8]) {
        let target = group.map_or(Some(0), |group| u8::try_from(group + 1).ok());
        let (Some(target), Some(code)) = (target, Call::code_of(code)) else { return };
        let mut call = Call { target, code, header: Header::Own, ..Call::default() };
        call.data = data.to_vec();
        let mut fences = 0;
        for at in (0..data.len().saturating_sub(OBJECT_BYTES - 1)).step_by(4) {
            if word(data, at) == u64::from(TYPE_FD) {
                let fd = word(data, at + 8);
                let kind = self.kind(i32::try_from(fd).unwrap_or(-1), &mut fences);
                call.objects.push((at, kind));
            }
        }
        self.name_numbers(group, data, &mut call);
        for _ in 0..fences {
            self.step(&Step::Act(Action::AttachWriter as u8, 0));
        }
        self.step(&Step::Call(call));
        for _ in 0..fences {
            self.step(&Step::Act(Action::Signal as u8, 0));
        }
    }

    /// Marks the arguments that are locks and buffers.
    fn name_numbers(&self, group: Option<usize>, data: &[u8], call: &mut Call) {
        let Some((group, noted)) = group.and_then(|at| Some((at, self.groups.get(at)?))) else {
            return;
        };
        let transaction = call.transaction();
        if method::takes_lock(transaction) && long(data, 0) == noted.lock {
            call.numbers.push((0, Known::Lock.of(group)));
        }
        if let Some(at) = method::new_lock(transaction, data) {
            if long(data, at) > noted.lock {
                call.numbers.push((at, Known::NextLock.of(group)));
            }
        }
        let Some(at) = method::first_buffer(transaction, data) else { return };
        let nth = noted.buffers.iter().position(|buffer| *buffer == long(data, at));
        if let Some(nth) = nth {
            let known = if nth == 0 { Known::FirstBuffer } else { Known::SecondBuffer };
            call.numbers.push((at, known.of(group)));
        }
    }

    /// The kind of a descriptor.
    fn kind(&mut self, fd: i32, fences: &mut u8) -> u8 {
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let link = link.to_string_lossy().into_owned();
        if link.starts_with("/dmabuf:") {
            let inode = nix::sys::stat::fstat(fd).map_or(0, |stat| stat.st_ino);
            let next = self.dma_bufs.len() as u8 % DMA_BUFS;
            return *self.dma_bufs.entry(inode).or_insert(next);
        }
        if link.contains("sync_file") {
            // SAFETY: the parcel keeps the descriptor open, as /proc has shown.
            let fence = unsafe { BorrowedFd::borrow_raw(fd) };
            let mut fds = [PollFd::new(fence, PollFlags::POLLIN)];
            if nix::poll::poll(&mut fds, PollTimeout::ZERO) == Ok(1) {
                return SIGNALLED;
            }
            *fences += 1;
            return PENDING + *fences - 1;
        }
        let others = ["/memfd", "pipe:", "?", "socket:", "/dev/null"];
        let other = others.iter().position(|start| link.starts_with(start));
        OTHERS + other.map_or(0, |other| other as u8)
    }

    /// A group is gone. The input ends with the last one.
    fn dropped(&mut self, group: usize) {
        self.step(&Step::Act(Action::DropGroup as u8, group as u8));
        self.alive -= 1;
        if self.alive > 0 {
            return;
        }
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        let file = self.folder.join(format!("{:016x}", hasher.finish()));
        if let Err(error) = fs::write(&file, &self.bytes) {
            eprintln!("buffersync-recorder: {}: {error}", file.display());
        }
        *self = Self { folder: std::mem::take(&mut self.folder), ..Self::default() };
    }
}

/// All data of a parcel, whose position is then the beginning.
fn bytes(parcel: &mut Parcel) -> rsbinder::Result<Vec<u8>> {
    parcel.set_data_position(0);
    let mut bytes = Vec::with_capacity(parcel.data_size());
    while parcel.data_avail() >= 4 {
        bytes.extend(parcel.read_i32()?.to_le_bytes());
    }
    parcel.set_data_position(0);
    Ok(bytes)
}
