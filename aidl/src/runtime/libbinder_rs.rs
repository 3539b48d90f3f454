// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The differences between the binder runtimes: Android's side, libbinder_rs.
//!
//! `rsbinder.rs` has the same items for the other side. No other file knows which runtime it is built
//! with. `cargo xtask test` compiles this file against a crate with libbinder_rs's signatures.

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use binder::binder_impl::IBinderInternal;
use binder::{
    ExceptionCode, FromIBinder, IBinder, Interface, ProcessState, SpIBinder, Status, StatusCode,
    Strong,
};

use crate::failure::Failure;
use crate::told::Told;

pub use android_hardware_common::aidl::android::hardware::common::NativeHandle::NativeHandle;
pub use vendor_buffersync::aidl::vendor;

/// The driver that libbinder opens for a process that serves or calls a VINTF interface.
const DRIVER: &str = "/dev/binder";

/// An argument of `Interface::dump`: one word of `dumpsys INSTANCE WORD...`.
pub type DumpArgument<'a> = &'a CStr;

pub fn dump_argument(argument: &DumpArgument<'_>) -> String {
    argument.to_string_lossy().into_owned()
}

/// Refuses a dump while another one is being written.
pub const WOULD_BLOCK: StatusCode = StatusCode::WOULD_BLOCK;
/// Refuses a dump that can't be written.
pub const FAILED_TRANSACTION: StatusCode = StatusCode::FAILED_TRANSACTION;

/// Makes a binder object: `new_binder!(BnFoo, foo)` for the generated class `BnFoo`.
#[macro_export]
macro_rules! new_binder {
    ($class:ty, $object:expr) => {
        <$class>::new_binder($object, ::binder::BinderFeatures::default())
    };
}

/// Limits the thread pool: the kernel starts at most `max_threads` threads in addition to those that
/// join by themselves. `None` leaves the pool as it is, because an app has its own. libbinder opens the
/// driver by itself, and `/dev/binder` only.
pub fn open_driver(device: &str, max_threads: Option<u32>) -> Result<(), String> {
    if device != DRIVER {
        return Err(format!("{device}: libbinder opens {DRIVER} only"));
    }
    if let Some(threads) = max_threads {
        ProcessState::set_thread_pool_max_thread_count(threads);
    }
    Ok(())
}

/// `None`: libbinder closes its descriptor in children itself.
pub fn driver() -> Option<RawFd> {
    None
}

/// Does nothing: libbinder keeps no parcels. The driver's own detection of oneway floods is on by default.
pub fn set_oneway_gate(_gate: impl Fn(u32) -> bool + Send + Sync + 'static) -> std::io::Result<()> {
    Ok(())
}

/// Does nothing: libbinder has no thread-locals of Rust.
pub fn prepare_thread() {}

/// Registers an object with the service manager. An error has libbinder's status.
pub fn add_service(name: &str, object: SpIBinder) -> Result<(), String> {
    binder::add_service(name, object).map_err(|status| format!("{status:?}"))
}

/// The service manager. libbinder waits for it, and init restarts the HALs when it restarts.
pub struct Manager;

/// Nothing is watched.
pub struct Watch(());

impl Watch {
    /// There is no such value, so nobody calls this.
    pub fn wait(&self) -> Told {
        std::thread::park();
        Told::Ended
    }
}

impl Manager {
    /// False if [`Manager::watch`] never tells anything.
    pub const IS_WATCHED: bool = false;

    /// It runs: libbinder has waited for it.
    pub fn answers() -> bool {
        true
    }

    /// True if a living process serves a name with another object than `own`.
    pub fn serves(name: &str, own: &SpIBinder) -> Result<bool, String> {
        let found = binder::check_service(name);
        Ok(found.is_some_and(|mut found| found != *own && found.ping_binder().is_ok()))
    }

    /// `None`: this process ends with the service manager, and init starts one of each name.
    pub fn watch(_name: &str) -> Option<Watch> {
        None
    }
}

/// Asks the object to write its state to `fd`. Returns when it has done so.
pub fn dump<T: FromIBinder + Interface + ?Sized>(
    object: &Strong<T>,
    fd: OwnedFd,
    arguments: &[&str],
) -> Result<(), Failure> {
    object.as_binder().dump(&fd, arguments).map_err(failure_of_transport)
}

pub fn service_specific(code: i32, message: &str) -> Status {
    Status::new_service_specific_error_str(code, Some(message))
}

pub fn illegal_argument(message: &str) -> Status {
    Status::new_exception_str(ExceptionCode::ILLEGAL_ARGUMENT, Some(message))
}

pub fn failure(status: &Status) -> Failure {
    match status.exception_code() {
        ExceptionCode::SERVICE_SPECIFIC => {
            Failure::ServiceSpecific(status.service_specific_error(), status.get_description())
        }
        ExceptionCode::ILLEGAL_ARGUMENT => Failure::IllegalArgument(status.get_description()),
        ExceptionCode::TRANSACTION_FAILED => failure_of_transport(status.transaction_error()),
        _ => Failure::Other(status.get_description()),
    }
}

/// Converts the status of a look-up or of a failed transaction. libbinder does not tell if a descriptor
/// was not open: then the transaction fails without a reason.
pub fn failure_of_transport(status: StatusCode) -> Failure {
    match status {
        StatusCode::NAME_NOT_FOUND => Failure::NameNotFound,
        StatusCode::DEAD_OBJECT => Failure::DeadObject,
        other => Failure::Other(format!("{other:?}")),
    }
}
